//! The tree's text files, as the rules see them: what git tracks or would track, or planted files.

use std::path::Path;
use std::process::Command;

use crate::support::repository;

/// Folders that hold nothing of ours when git cannot be asked.
const FOREIGN: &[&str] = &[".git", ".work", "target"];

/// Relative paths (with `/`) and contents of text files, sorted by path.
pub struct Tree {
    files: Vec<(String, String)>,
}

impl Tree {
    /// The checkout: files that git tracks or does not ignore; without git (an unpacked archive) every file.
    pub fn of_repository() -> Tree {
        let root = repository();
        let paths = git_files(&root).unwrap_or_else(|| all_files(&root));
        let mut files = Vec::new();
        for path in paths {
            // Binary files have no lines, and a file may be deleted but not yet in the index.
            if let Ok(text) = std::fs::read_to_string(root.join(&path)) {
                files.push((path, text));
            }
        }
        files.sort();
        assert!(!files.is_empty(), "no files under {}", root.display());
        Tree { files }
    }

    /// Planted files, to try a rule on.
    pub fn of(files: &[(&str, &str)]) -> Tree {
        let files = files.iter().map(|&(path, text)| (path.to_owned(), text.to_owned())).collect();
        Tree { files }
    }

    /// Every file.
    pub fn files(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// Every Rust file.
    pub fn rust(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter(|(path, _)| path.ends_with(".rs"))
    }

    /// One file's content.
    pub fn file(&self, wanted: &str) -> Option<&str> {
        self.files().find(|&(path, _)| path == wanted).map(|(_, text)| text)
    }

    /// The crates' manifests: the crate's folder name and the manifest's content.
    pub fn manifests(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files().filter_map(|(path, text)| {
            let name = path.strip_prefix("crates/")?.strip_suffix("/Cargo.toml")?;
            (!name.contains('/')).then_some((name, text))
        })
    }
}

fn git_files(root: &Path) -> Option<Vec<String>> {
    let output = Command::new("git").arg("-C").arg(root).args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).output().ok()?;
    let list = String::from_utf8(output.stdout).ok()?;
    let files: Vec<String> = list.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect();
    (output.status.success() && !files.is_empty()).then_some(files)
}

fn all_files(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![String::new()];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(root.join(&folder)) else {
            continue;
        };
        for entry in entries.flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !FOREIGN.contains(&name.as_str()) => folders.push(path),
                Ok(kind) if kind.is_file() => files.push(path),
                _ => {}
            }
        }
    }
    files
}
