//! Secrets in config: the text itself, `env:NAME`, or `file:PATH`.

use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use secrecy::SecretString;

/// Longest secret file, in bytes.
const MAX_SECRET_BYTES: u64 = 64 << 10;

/// A secret as it stands in the config. Does not print itself.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(super) String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A secret that was read, and what to warn of.
pub struct ReadSecret {
    /// The secret.
    pub secret: SecretString,
    /// Such as that others can read its file.
    pub warning: Option<String>,
}

impl Secret {
    /// As it would stand in the file.
    pub fn of(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// Reads the secret. `file:` paths start at `base`.
    ///
    /// # Errors
    /// In one line, with the remedy.
    pub fn read(&self, base: &Path, variable: impl Fn(&str) -> Option<String>) -> Result<ReadSecret, String> {
        if let Some(name) = self.0.strip_prefix("env:") {
            let value = variable(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty());
            let missing = || format!("the environment variable {name} is not set; set it, or use file:PATH");
            return Ok(ReadSecret { secret: value.ok_or_else(missing)?.into(), warning: None });
        }
        let Some(path) = self.0.strip_prefix("file:") else {
            return Ok(ReadSecret { secret: self.0.clone().into(), warning: None });
        };
        read_file(&base.join(path))
    }
}

fn read_file(path: &Path) -> Result<ReadSecret, String> {
    let shown = path.display();
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::NotFound => format!("there is no file {shown}; write the secret into it, or use env:NAME"),
        _ => format!("{shown} cannot be read: {error}; check its owner and mode"),
    })?;
    if !metadata.is_file() || metadata.len() > MAX_SECRET_BYTES {
        return Err(format!("{shown} is no file of at most {MAX_SECRET_BYTES} bytes; write only the secret into it"));
    }
    let text = fs::read_to_string(path)
        .map_err(|error| format!("{shown} cannot be read: {error}; check its owner, mode and content"))?;
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("{shown} is empty; write the secret into it"));
    }
    let open = metadata.permissions().mode() & 0o077 != 0;
    let warning = open.then(|| format!("others can read {shown}; run chmod 600 {shown}"));
    Ok(ReadSecret { secret: text.to_owned().into(), warning })
}
