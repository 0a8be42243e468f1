//! The layers of a config: file, then environment, then flags; each value remembers where it came from.

use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::ConfigError;

/// Largest config file, in bytes.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The file that is read where no other is named.
pub const DEFAULT_FILE: &str = "longtake.toml";

/// Where a value came from, unless the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// This environment variable.
    Variable(String),
    /// This flag.
    Flag(&'static str),
}

/// All values, the last layer on top.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// The values.
    pub table: Table,
    /// The file, if there is one.
    pub file: Option<PathBuf>,
    /// Where values came from that are not the file's, by [`shown_key`].
    pub origins: BTreeMap<String, Origin>,
}

/// A key as errors name it: `[section] key`.
pub fn shown_key(path: &[&str]) -> String {
    match path {
        ["database", "url"] => "database".to_owned(),
        [key] => (*key).to_owned(),
        [sections @ .., key] => format!("[{}] {key}", sections.join(".")),
        [] => String::new(),
    }
}

impl Layers {
    /// Reads the file: the named one, else `./longtake.toml` if it exists.
    ///
    /// # Errors
    /// One line with file, line and remedy.
    pub fn from_file(named: Option<&Path>, folder: &Path) -> Result<Self, ConfigError> {
        let path = named.map_or_else(|| folder.join(DEFAULT_FILE), |path| folder.join(path));
        let shown = named.unwrap_or(Path::new(DEFAULT_FILE)).to_path_buf();
        let text = match read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound && named.is_none() => return Ok(Self::default()),
            Err(error) => {
                let remedy = match error.kind() {
                    ErrorKind::NotFound => "there is no such file; check --config or LONGTAKE_CONFIG".to_owned(),
                    _ => format!("cannot be read: {error}; check the file and its mode"),
                };
                return Err(ConfigError::new(format!("{}: {remedy}", shown.display())));
            }
        };
        let mut table: Table = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            let message = error.message().replace('\n', "; ");
            ConfigError::new(format!("{}: line {line}: {message}; see longtake.example.toml", shown.display()))
        })?;
        // `database = "sqlite:…"` and `[database] pool_size` name the same thing.
        if let Some(Value::String(url)) = table.get("database").cloned() {
            table.insert(
                "database".to_owned(),
                Value::Table(Table::from_iter([("url".to_owned(), Value::String(url))])),
            );
        }
        Ok(Self { table, file: Some(shown), origins: BTreeMap::new() })
    }

    /// Puts a value on top.
    pub fn set(&mut self, path: &[&str], value: Value, origin: Origin) -> Result<(), ConfigError> {
        let Some((key, sections)) = path.split_last() else { return Ok(()) };
        let clash = self.error(path, "is a value and a section at once; keep one of them");
        let mut table = &mut self.table;
        for section in sections {
            let inner = table.entry((*section).to_owned()).or_insert_with(|| Value::Table(Table::new()));
            table = match inner {
                Value::Table(inner) => inner,
                _ => return Err(clash),
            };
        }
        table.insert((*key).to_owned(), value);
        self.origins.insert(shown_key(path), origin);
        Ok(())
    }

    /// An error about a key, naming where its value came from.
    pub fn error(&self, path: &[&str], problem: &str) -> ConfigError {
        let key = shown_key(path);
        ConfigError::new(match (self.origins.get(&key), &self.file) {
            (Some(Origin::Variable(name)), _) => format!("{name}: {problem}"),
            (Some(Origin::Flag(flag)), _) => format!("{flag}: {problem}"),
            (None, Some(file)) => format!("{}: {key}: {problem}", file.display()),
            (None, None) => format!("{key}: {problem}"),
        })
    }

    /// The folder that `file:` paths of secrets start at.
    pub fn folder(&self, working_folder: &Path) -> PathBuf {
        let file = self.file.as_ref().map(|file| working_folder.join(file));
        file.and_then(|file| file.parent().map(Path::to_path_buf)).unwrap_or_else(|| working_folder.to_path_buf())
    }
}

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    let length = fs::File::open(path)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if length as u64 > MAX_FILE_BYTES {
        return Err(std::io::Error::other(format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}
