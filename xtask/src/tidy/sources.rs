//! The files of the repository that people write.

use std::path::Path;

use super::scan::{Scanned, scan};
use crate::Outcome;

/// Folders with nothing written by us.
const SKIPPED: &[&str] = &["target", "node_modules", "__pycache__", "longtake-data", "vendor", "fixtures"];
/// Folders whose name begins with a dot are skipped, but for these.
const DOTTED: &[&str] = &[".ci", ".cargo", ".config", ".github"];
const EXTENSIONS: &[&str] =
    &["rs", "toml", "md", "sql", "py", "mjs", "js", "ts", "css", "html", "sh", "c", "yml", "yaml", "json", "txt"];
/// Files without an extension that are ours all the same.
const NAMES: &[&str] = &["run", "Dockerfile"];
/// More would mean that something that nobody wrote is read.
const MAX_FILES: usize = 5_000;

/// One text file: its path from the root with `/`, its text, and for Rust what the scanner made of it.
pub struct Source {
    pub path: String,
    pub text: String,
    pub scanned: Option<Scanned>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let scanned = path.ends_with(".rs").then(|| scan(text));
        Self { path: path.to_owned(), text: text.to_owned(), scanned }
    }

    pub fn is_rust(&self) -> bool {
        self.scanned.is_some()
    }

    pub fn extension(&self) -> &str {
        self.path.rsplit_once('.').map_or("", |(_, extension)| extension)
    }

    pub fn name(&self) -> &str {
        self.path.rsplit('/').next().unwrap_or(&self.path)
    }
}

/// Reads all text files below `root`, sorted by path.
pub fn collect(root: &Path) -> Outcome<Vec<Source>> {
    let mut sources = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        for entry in entries {
            let entry = entry.map_err(|error| format!("{}: {error}", folder.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(|error| format!("{name}: {error}"))?;
            let skipped =
                SKIPPED.contains(&name.as_str()) || (name.starts_with('.') && !DOTTED.contains(&name.as_str()));
            if kind.is_dir() && !skipped {
                folders.push(entry.path());
            } else if kind.is_file() && is_ours(&name) {
                sources.push(read(root, &entry.path())?);
            }
            if sources.len() > MAX_FILES {
                return Err(format!("more than {MAX_FILES} files; which folder is not ours?"));
            }
        }
    }
    sources.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(sources)
}

fn is_ours(name: &str) -> bool {
    NAMES.contains(&name) || name.rsplit_once('.').is_some_and(|(_, extension)| EXTENSIONS.contains(&extension))
}

fn read(root: &Path, path: &Path) -> Outcome<Source> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let relative = path.strip_prefix(root).unwrap_or(path);
    let parts: Vec<_> = relative.iter().map(|part| part.to_string_lossy()).collect();
    Ok(Source::new(&parts.join("/"), &text))
}
