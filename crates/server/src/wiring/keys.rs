//! The two keys of a data directory: made at first start, readable by their owner only.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

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
pub const SECRET_KEY_FILE: &str = "secret.key";
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
        Err(error) if error.kind() == ErrorKind::NotFound => write_new(path, &make()).map_err(failed),
        Err(error) => Err(failed(error)),
    }
}

/// Puts a new key into its place, whole or not at all; of several processes that start at once, one makes it. The key
/// that is there afterwards.
fn write_new(path: &Path, key: &str) -> std::io::Result<String> {
    // A name of our own, so that nobody writes into ours; a crash leaves it behind, and no half key.
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".new-{:016x}", OsRandom.u64()));
    let new = PathBuf::from(name);
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = file.write_all(format!("{key}\n").as_bytes()).and_then(|()| file.sync_all());
    // Unlike a rename, a link replaces nothing.
    let linked = written.and_then(|()| fs::hard_link(&new, path));
    fs::remove_file(&new)?;
    match linked {
        Ok(()) => File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all().map(|()| key.to_owned()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            fs::read_to_string(path).map(|text| text.trim().to_owned())
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    #[test]
    fn processes_that_start_at_once_have_one_key() {
        let folder = std::env::temp_dir().join(format!("longtake-keys-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        for round in 0..20 {
            let path = folder.join(format!("{round}.key"));
            let made = AtomicU32::new(0);
            let make = || format!("key {}", made.fetch_add(1, Ordering::SeqCst));
            let keys: Vec<String> = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| read_or_make(&path, make).unwrap())).collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).collect()
            });
            let kept = fs::read_to_string(&path).unwrap();
            assert!(keys.iter().all(|key| key == kept.trim()), "{keys:?} and {kept:?}");
        }
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 20, "nothing is left behind");
        fs::remove_dir_all(&folder).unwrap();
    }
}
