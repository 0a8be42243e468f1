//! Where the bytes of videos are kept: `artifacts` and `[storage]` together, checked against each other.

use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use longtake_store::artifacts::cloud::{BucketOptions, BucketPlace, Cloud, Encryption};
use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};

use super::read::{shown_text, words};
use super::secret::Secret;
use super::{Config, ConfigError};

/// How the bytes of a video get to who asks for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Serve {
    /// This process reads them and passes them on.
    Through,
    /// The answer says where they are.
    Redirect,
}

words! { Serve: "\"through\" or \"redirect\"" { "through" => Serve::Through, "redirect" => Serve::Redirect } }

/// How S3 is to encrypt objects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerSideEncryption {
    /// With keys that S3 keeps.
    Aes256,
    /// With a key of AWS KMS.
    AwsKms,
}

words! {
    ServerSideEncryption: "\"aes256\" or \"aws:kms\"" {
        "aes256" => ServerSideEncryption::Aes256, "aws:kms" => ServerSideEncryption::AwsKms,
    }
}

/// Where bytes are kept.
#[derive(Debug, Clone)]
pub enum Artifacts {
    /// In this folder.
    Folder(PathBuf),
    /// In this bucket. The secrets are not read yet.
    Bucket(BucketPlace),
}

/// Where a redirect leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirect {
    /// To a link of the bucket's own, for so long.
    Signed(Duration),
    /// To this URL, a slash and the key.
    Public(String),
}

impl Config {
    /// Where the bytes of videos are kept.
    ///
    /// # Errors
    /// Where the config names no store that is known, or `[storage]` says what that store has no use for.
    pub fn artifacts(&self) -> Result<Artifacts, ConfigError> {
        let wrong = |problem: &str| Err(self.error(&["artifacts"], problem));
        let artifacts = match self.general.artifacts.as_deref() {
            None => Artifacts::Folder(self.general.data_dir.join("artifacts")),
            Some(url) => match (url.strip_prefix("file:"), BucketPlace::parse(url)) {
                (Some(""), _) => return wrong("names no folder; write file:DIR"),
                (Some(path), _) => Artifacts::Folder(self.sources.folder.join(path)),
                (None, Some(Ok(place))) => Artifacts::Bucket(place),
                // It repeats what it was given.
                (None, Some(Err(_))) if url.contains('@') => {
                    return wrong(&format!(
                        "{} names a user; put keys into [storage], and write s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX",
                        shown_text(url)
                    ));
                }
                (None, Some(Err(problem))) => return wrong(&problem),
                (None, None) => {
                    return wrong(&format!(
                        "{} names no store that is known; write file:DIR, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX",
                        shown_text(url)
                    ));
                }
            },
        };
        self.check_storage(&artifacts)?;
        Ok(artifacts)
    }

    /// Settings that would change nothing are mistakes: the operator believes that they do.
    fn check_storage(&self, artifacts: &Artifacts) -> Result<(), ConfigError> {
        let storage = &self.storage;
        let wrong = |key: &str, problem: &str| Err(self.error(&["storage", key], problem));
        let (is_s3, is_gcs, is_bucket) = match artifacts {
            Artifacts::Folder(_) => (false, false, false),
            Artifacts::Bucket(place) => (place.cloud == Cloud::S3, place.cloud == Cloud::Gcs, true),
        };
        let for_buckets = [
            ("endpoint", storage.endpoint.is_some()),
            ("access_key_id", storage.access_key_id.is_some()),
            ("secret_access_key", storage.secret_access_key.is_some()),
            ("allow_http", storage.allow_http),
        ];
        let for_s3 = [
            ("region", storage.region.is_some()),
            ("virtual_hosted_style", storage.virtual_hosted_style),
            ("server_side_encryption", storage.server_side_encryption.is_some()),
            ("kms_key_id", storage.kms_key_id.is_some()),
        ];
        if let Some((key, _)) = for_buckets.iter().chain(&for_s3).find(|(_, set)| *set && !is_bucket) {
            return wrong(
                key,
                "is for a bucket, and artifacts names none; write artifacts = \"s3://BUCKET/PREFIX\", or remove it",
            );
        }
        if let Some((key, _)) = for_s3.iter().find(|(_, set)| *set && !is_s3) {
            return wrong(key, "is for s3:// only; remove it, and set that at the bucket itself");
        }
        match (&storage.access_key_id, &storage.secret_access_key) {
            (Some(_), _) if is_gcs => {
                return wrong(
                    "access_key_id",
                    "is not for gs://; remove it, and put the service account's key into secret_access_key",
                );
            }
            (Some(_), None) => {
                return wrong("secret_access_key", "is missing beside access_key_id; set both, or neither");
            }
            (None, Some(_)) if !is_gcs => {
                return wrong("access_key_id", "is missing beside secret_access_key; set both, or neither");
            }
            _ => {}
        }
        if storage.kms_key_id.is_some() && storage.server_side_encryption != Some(ServerSideEncryption::AwsKms) {
            return wrong("kms_key_id", "needs server_side_encryption = \"aws:kms\"; set it, or remove this");
        }
        self.check_urls(is_bucket)
    }

    fn check_urls(&self, is_bucket: bool) -> Result<(), ConfigError> {
        let storage = &self.storage;
        let wrong = |key: &str, problem: &str| Err(self.error(&["storage", key], problem));
        if let Some(endpoint) = &storage.endpoint {
            let url = Url::parse(endpoint).ok().filter(|url| url.has_host() && url.query().is_none());
            // Errors of the network would repeat it.
            if url.as_ref().is_some_and(|url| !url.username().is_empty() || url.password().is_some()) {
                return wrong(
                    "endpoint",
                    "names a user; put the keys into access_key_id and secret_access_key, and write it without",
                );
            }
            match url.as_ref().map(Url::scheme) {
                Some("https") => {}
                Some("http") if storage.allow_http => {}
                Some("http") => {
                    return wrong(
                        "endpoint",
                        "is plain http, so anyone on the way could read the videos; use https, or set allow_http = true",
                    );
                }
                _ => {
                    return wrong(
                        "endpoint",
                        &format!(
                            "{} is no URL of a service; write one such as https://s3.example.com",
                            shown_text(endpoint)
                        ),
                    );
                }
            }
        }
        if storage.serve == Serve::Redirect && !is_bucket && storage.public_base_url.is_none() {
            return wrong(
                "serve",
                "redirects to a bucket, and artifacts names none; name one, set public_base_url, or write \"through\"",
            );
        }
        if storage.serve == Serve::Through && storage.public_base_url.is_some() {
            return wrong("public_base_url", "changes nothing without serve = \"redirect\"; set it, or remove this");
        }
        Ok(())
    }

    /// Where `/content` sends who asks; `None` where it passes the bytes on itself.
    pub fn redirect(&self) -> Option<Redirect> {
        let storage = &self.storage;
        match (storage.serve, &storage.public_base_url) {
            (Serve::Through, _) => None,
            (Serve::Redirect, Some(url)) => Some(Redirect::Public(url.as_str().to_owned())),
            (Serve::Redirect, None) => Some(Redirect::Signed(Duration::from_secs(storage.redirect_valid_secs))),
        }
    }

    /// How a bucket is reached, secrets included.
    ///
    /// # Errors
    /// Where a secret is not there, or is none.
    pub fn bucket(&self, place: BucketPlace) -> Result<BucketOptions, ConfigError> {
        let storage = &self.storage;
        let id = self.storage_secret("access_key_id", storage.access_key_id.as_ref())?;
        let key = self.storage_secret("secret_access_key", storage.secret_access_key.as_ref())?;
        let is_key = |key: &SecretString| STANDARD.decode(key.expose_secret()).is_ok();
        if place.cloud == Cloud::Azure && !key.as_ref().is_none_or(is_key) {
            let problem = "is no key of a storage account, which is base64; copy all of it, with the = at its end";
            return Err(self.error(&["storage", "secret_access_key"], problem));
        }
        let is_json = |key: &SecretString| serde_json::from_str::<serde_json::Map<_, _>>(key.expose_secret()).is_ok();
        if place.cloud == Cloud::Gcs && !key.as_ref().is_none_or(is_json) {
            let problem = "is no key of a service account, which is JSON; put the whole file there, as with file:PATH";
            return Err(self.error(&["storage", "secret_access_key"], problem));
        }
        Ok(BucketOptions {
            place,
            endpoint: storage.endpoint.as_deref().map(|url| url.trim_end_matches('/').to_owned()),
            region: storage.region.clone(),
            access_key_id: id.map(|id| id.expose_secret().to_owned()),
            secret_access_key: key,
            allow_http: storage.allow_http,
            virtual_hosted_style: storage.virtual_hosted_style,
            encryption: storage.server_side_encryption.map(|encryption| match encryption {
                ServerSideEncryption::Aes256 => Encryption::Aes256,
                ServerSideEncryption::AwsKms => Encryption::Kms(storage.kms_key_id.clone()),
            }),
        })
    }

    fn storage_secret(&self, key: &str, secret: Option<&Secret>) -> Result<Option<SecretString>, ConfigError> {
        let Some(secret) = secret else { return Ok(None) };
        let variable = |name: &str| self.sources.variable(name).or_else(|| std::env::var(name).ok());
        let read = secret.read(&self.secrets_folder(), variable);
        let read = read.map_err(|problem| self.error(&["storage", key], &problem))?;
        if let Some(warning) = read.warning {
            let line = self.error(&["storage", key], &warning);
            tracing::warn!("{line}");
        }
        Ok(Some(read.secret))
    }
}
