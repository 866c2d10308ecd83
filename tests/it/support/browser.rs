//! A headless Chromium, run once per question: the page's text after its scripts ran, or its picture.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::{discard, scratch_dir, skip, tools_dir};

/// A browser on this machine, with a profile of its own.
pub struct Browser {
    program: PathBuf,
    profile: PathBuf,
}

impl Browser {
    /// Finds the browser. `None`, and a visible word, when it is not installed.
    pub fn find() -> Option<Browser> {
        let program = tools_dir().join("chromium/chromium");
        if !program.exists() {
            skip("Chromium");
            return None;
        }
        Some(Browser { program, profile: scratch_dir("browser") })
    }

    /// The document as HTML after the page has run for `run_ms` of its own time.
    ///
    /// # Panics
    /// When the browser fails.
    pub fn document(&self, url: &str, run_ms: u32) -> String {
        let output = self.run(&[format!("--virtual-time-budget={run_ms}"), "--dump-dom".into(), url.into()]);
        String::from_utf8_lossy(&output).into_owned()
    }

    /// Saves a PNG of the page, `width` × `height` pixels, after it has run for `run_ms` of its own time.
    ///
    /// # Panics
    /// When the browser fails or leaves no picture.
    pub fn picture(&self, url: &str, file: &Path, (width, height): (u32, u32), run_ms: u32) {
        let _ = std::fs::remove_file(file);
        self.run(&[
            format!("--virtual-time-budget={run_ms}"),
            format!("--window-size={width},{height}"),
            format!("--screenshot={}", file.display()),
            url.into(),
        ]);
        assert!(file.exists(), "the browser left no picture in {}", file.display());
    }

    fn run(&self, arguments: &[String]) -> Vec<u8> {
        let output = Command::new(&self.program)
            // A test machine's root user cannot have Chromium's sandbox, and small containers have a tiny /dev/shm.
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"])
            .arg(format!("--user-data-dir={}", self.profile.display()))
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .expect("the browser runs");
        assert!(output.status.success(), "the browser failed ({}):\n{}", output.status, String::from_utf8_lossy(&output.stderr));
        output.stdout
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        discard(&self.profile);
    }
}
