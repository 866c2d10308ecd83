//! Model versions on disk: `ROOT/NAME/VERSION/` holds a bundle, `ROOT/NAME/current` names the version in use. A
//! version appears whole or not at all and never changes; the pointer is replaced by one rename. Files and folders
//! are synced before a rename makes them visible, so a crash leaves the old state or the new one.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use crate::manifest::Bundle;
use crate::{GbdtPredictor, ModelError};

/// A folder of model versions.
#[derive(Clone, Debug)]
pub struct ModelStore {
    root: PathBuf,
}

const POINTER: &str = "current";

impl ModelStore {
    /// A store in `root`, which is created at the first save.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Saves a version; saving the same content again is fine. It is not made current.
    ///
    /// # Errors
    /// When the version exists with other content, a name is not a plain one, or the disk refuses.
    pub fn save(&self, bundle: &Bundle) -> Result<PathBuf, ModelError> {
        let (name, version) = (&bundle.manifest.name, &bundle.manifest.version);
        let family = self.family(name)?;
        let target = family.join(plain(version)?);
        fs::create_dir_all(&family).map_err(ModelError::io("create", &family))?;
        if target.exists() {
            return if same_files(bundle, &target)? { Ok(target) } else { Err(ModelError::VersionTaken { version: version.clone() }) };
        }
        let draft = family.join(format!(".draft-{version}"));
        if draft.exists() {
            fs::remove_dir_all(&draft).map_err(ModelError::io("remove", &draft))?;
        }
        fs::create_dir(&draft).map_err(ModelError::io("create", &draft))?;
        for (file, content) in bundle.files()? {
            write_synced(&draft.join(file), content.as_bytes())?;
        }
        sync(&draft)?;
        fs::rename(&draft, &target).map_err(ModelError::io("rename", &target))?;
        sync(&family)?;
        Ok(target)
    }

    /// Makes a saved version the current one.
    ///
    /// # Errors
    /// When the version is absent or damaged, or the disk refuses.
    pub fn set_current(&self, name: &str, version: &str) -> Result<(), ModelError> {
        let family = self.family(name)?;
        let folder = family.join(plain(version)?);
        if !folder.exists() {
            return Err(ModelError::Missing { name: format!("{name}/{version}"), root: self.root.clone() });
        }
        GbdtPredictor::load(&folder)?;
        let draft = family.join(format!(".{POINTER}"));
        write_synced(&draft, format!("{version}\n").as_bytes())?;
        let pointer = family.join(POINTER);
        fs::rename(&draft, &pointer).map_err(ModelError::io("rename", &pointer))?;
        sync(&family)
    }

    /// The current version of a model, if there is one.
    ///
    /// # Errors
    /// When the pointer cannot be read.
    pub fn current(&self, name: &str) -> Result<Option<String>, ModelError> {
        let pointer = self.family(name)?.join(POINTER);
        match fs::read_to_string(&pointer) {
            Ok(version) => Ok(Some(version.trim().to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(ModelError::io("read", &pointer)(error)),
        }
    }

    /// Saved versions of a model, sorted by name.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn versions(&self, name: &str) -> Result<Vec<String>, ModelError> {
        let family = self.family(name)?;
        let entries = match fs::read_dir(&family) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(ModelError::io("read", &family)(error)),
        };
        let mut versions = Vec::new();
        for entry in entries {
            let entry = entry.map_err(ModelError::io("read", &family))?;
            let version = entry.file_name().to_string_lossy().into_owned();
            if entry.path().is_dir() && !version.starts_with('.') {
                versions.push(version);
            }
        }
        versions.sort();
        Ok(versions)
    }

    /// Loads a version.
    ///
    /// # Errors
    /// When it is absent or damaged.
    pub fn load(&self, name: &str, version: &str) -> Result<GbdtPredictor, ModelError> {
        let folder = self.family(name)?.join(plain(version)?);
        if !folder.exists() {
            return Err(ModelError::Missing { name: format!("{name}/{version}"), root: self.root.clone() });
        }
        GbdtPredictor::load(&folder)
    }

    /// Loads the current version.
    ///
    /// # Errors
    /// When there is none or it is damaged.
    pub fn load_current(&self, name: &str) -> Result<GbdtPredictor, ModelError> {
        let version = self.current(name)?.ok_or_else(|| ModelError::Missing { name: name.to_owned(), root: self.root.clone() })?;
        self.load(name, &version)
    }

    fn family(&self, name: &str) -> Result<PathBuf, ModelError> {
        Ok(self.root.join(plain(name)?))
    }
}

/// Names become folders: nothing that leaves the store or hides in it.
fn plain(name: &str) -> Result<&str, ModelError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if !name.is_empty() && !name.starts_with('.') && name != POINTER && name.chars().all(fine) {
        return Ok(name);
    }
    Err(ModelError::Manifest {
        message: format!("{name:?} cannot name a model or version"),
        hint: "use letters, digits, '-', '_' and '.', not a leading '.', not `current`",
    })
}

/// Whether a folder holds a bundle byte for byte.
fn same_files(bundle: &Bundle, folder: &Path) -> Result<bool, ModelError> {
    for (file, content) in bundle.files()? {
        let path = folder.join(file);
        if fs::read(&path).map_err(ModelError::io("read", &path))? != content.as_bytes() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn write_synced(path: &Path, content: &[u8]) -> Result<(), ModelError> {
    let mut file = File::create(path).map_err(ModelError::io("write", path))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(ModelError::io("write", path))
}

fn sync(folder: &Path) -> Result<(), ModelError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(ModelError::io("sync", folder))
}
