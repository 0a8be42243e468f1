//! The two keys of a data directory: made at first start, readable by their owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use longtake_core::artifact::Digest;
use longtake_core::id::Random;
use secrecy::ExposeSecret;

use super::StartError;
use crate::clock::OsRandom;
use crate::config::Config;
use crate::config::secret::Secret;

/// The admin key's file in the data directory.
pub const ADMIN_KEY_FILE: &str = "admin.key";
/// The signing key's file in the data directory.
const SECRET_KEY_FILE: &str = "secret.key";
/// Least length of an admin key, in characters.
const MIN_ADMIN_KEY_CHARS: usize = 16;
/// Least length of a signing key that is no hex, in characters.
const MIN_SECRET_CHARS: usize = 32;

/// The admin key: from the config, else from its file, which is made where it is missing.
///
/// # Errors
/// Where it is too short or its file cannot be used.
pub fn admin_key(config: &Config) -> Result<String, StartError> {
    let told = told(config, "admin_key", config.general.admin_key.as_ref())?;
    let made = || {
        let mut bytes = [0; 32];
        OsRandom.fill(&mut bytes);
        format!("lt_admin_{}", URL_SAFE_NO_PAD.encode(bytes))
    };
    let key = match told {
        Some(key) => key,
        None => read_or_make(&config.general.data_dir.join(ADMIN_KEY_FILE), made)?,
    };
    if key.chars().count() < MIN_ADMIN_KEY_CHARS || key.chars().any(|c| c.is_whitespace() || c.is_control()) {
        let problem = format!("must have at least {MIN_ADMIN_KEY_CHARS} characters and no blanks; make a longer one");
        return Err(config.error(&["admin_key"], &problem).into());
    }
    Ok(key)
}

/// The signing key: from the config, else from its file, which is made where it is missing.
///
/// # Errors
/// Where it is too short or its file cannot be used.
pub fn secret_key(config: &Config) -> Result<[u8; 32], StartError> {
    let told = told(config, "secret_key", config.general.secret_key.as_ref())?;
    let made = || {
        let mut bytes = [0; 32];
        OsRandom.fill(&mut bytes);
        Digest(bytes).to_string()
    };
    let text = match told {
        Some(text) => text,
        None => read_or_make(&config.general.data_dir.join(SECRET_KEY_FILE), made)?,
    };
    if let Some(Digest(bytes)) = Digest::from_hex(&text) {
        return Ok(bytes);
    }
    if text.chars().count() < MIN_SECRET_CHARS {
        let problem = format!(
            "must be 64 hex digits or at least {MIN_SECRET_CHARS} characters; make one with openssl rand -hex 32"
        );
        return Err(config.error(&["secret_key"], &problem).into());
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
    Ok(bytes)
}

fn told(config: &Config, key: &str, secret: Option<&Secret>) -> Result<Option<String>, StartError> {
    let Some(secret) = secret else { return Ok(None) };
    let variable = |name: &str| config.sources.variable(name).or_else(|| std::env::var(name).ok());
    let read = secret.read(&config.secrets_folder(), variable).map_err(|problem| config.error(&[key], &problem))?;
    if let Some(warning) = read.warning {
        let line = config.error(&[key], &warning);
        tracing::warn!("{line}");
    }
    Ok(Some(read.secret.expose_secret().to_owned()))
}

fn read_or_make(path: &Path, make: impl Fn() -> String) -> Result<String, StartError> {
    let failed = |error: std::io::Error| {
        StartError::Other(format!("{}: {error}; check its owner and mode, and the room on its disk", path.display()))
    };
    match fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => Err(StartError::Other(format!(
            "{} is empty; restore it, or remove it to have a new one made",
            path.display()
        ))),
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let key = make();
            write_new(path, &key).map_err(failed)?;
            Ok(key)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Whole or not at all: a crash must not leave half a key.
fn write_new(path: &Path, key: &str) -> std::io::Result<()> {
    let new = path.with_extension("key.new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(format!("{key}\n").as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
