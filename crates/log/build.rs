//! Embeds `schemas/` so that the binary has its contracts wherever it is started: writes a table of
//! (file name, text) that `registry.rs` includes.

use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let schemas = Path::new(&env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?).join("../../schemas");
    let mut files: Vec<(String, PathBuf)> = Vec::new();
    for (folder, prefix) in [(schemas.clone(), ""), (schemas.join("history"), "history/")] {
        println!("cargo:rerun-if-changed={}", folder.display());
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(&folder)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
            if name.ends_with(".avsc") || name == "registry.json" {
                files.push((format!("{prefix}{name}"), path.canonicalize()?));
            }
        }
    }
    files.sort();
    let table: String = files.iter().map(|(name, path)| format!("    ({name:?}, include_str!({path:?})),\n")).collect();
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?).join("schemas.rs");
    fs::write(out, format!("&[\n{table}]\n"))
}
