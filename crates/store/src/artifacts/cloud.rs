//! Which bucket, and how it is reached: from settings to a client of one cloud.
//!
//! What the settings leave open comes from the standard environment of that cloud. Nothing here talks to it: a client is
//! made without a request. Absent: what is done with objects; that is [`super::bucket`].

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::signer::Signer;
use object_store::{BackoffConfig, ClientOptions, HeaderValue, ObjectStore, RetryConfig};
use secrecy::{ExposeSecret, SecretString};

/// Time to reach the cloud.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Silence after which a request is given up; an upload of one part must end within it.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
/// The same for the request that makes one object of its parts: some that speak S3 copy all of them before they answer.
const COMPLETE_TIMEOUT: Duration = Duration::from_secs(600);
/// Repetitions of one request: all that are made here may be repeated, since nobody else writes under our keys.
const MAX_RETRIES: usize = 3;
/// After this much time no repetition begins, so no call takes longer than this and one [`READ_TIMEOUT`].
const RETRY_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest that sending one part takes, repetitions included.
pub(super) const PART_TIMEOUT: Duration = Duration::from_secs(RETRY_TIMEOUT.as_secs() + READ_TIMEOUT.as_secs());
/// Pauses between repetitions: they grow from the first to the second.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(3));
/// Longest prefix, in bytes: with it a key stays below the 1,024 bytes that all three clouds take.
const MAX_PREFIX_BYTES: usize = 256;

/// The client's name of the setting that has no method of its own.
const ENCRYPTION: &str = "aws_server_side_encryption";

/// Whose bucket it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cloud {
    /// Amazon S3, and everything that speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage, where a bucket is called container.
    Azure,
}

/// A bucket, and the part of it that is ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BucketPlace {
    /// Whose it is.
    pub cloud: Cloud,
    /// Its name.
    pub bucket: String,
    /// What all our keys begin with, without slashes around it; empty where all of the bucket is ours.
    pub prefix: String,
}

impl BucketPlace {
    /// From `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`; `None` where it is no such URL.
    ///
    /// # Errors
    /// What is wrong with the name or the prefix, with the remedy.
    pub fn parse(url: &str) -> Option<Result<Self, String>> {
        let (scheme, rest) = url.split_once("://")?;
        let cloud = match scheme {
            "s3" => Cloud::S3,
            "gs" => Cloud::Gcs,
            "az" => Cloud::Azure,
            _ => return None,
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        Some(Self::checked(cloud, bucket, prefix.strip_suffix('/').unwrap_or(prefix)))
    }

    fn checked(cloud: Cloud, bucket: &str, prefix: &str) -> Result<Self, String> {
        let inner = |byte: u8| match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' => true,
            b'.' => cloud != Cloud::Azure,
            b'_' => cloud == Cloud::Gcs,
            _ => false,
        };
        let outer = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        let is_name = (3..=63).contains(&bucket.len())
            && bucket.bytes().all(inner)
            && outer(bucket.bytes().next())
            && outer(bucket.bytes().last());
        if !is_name {
            return Err(format!(
                "{bucket:?} is no name of a {}: it has 3 to 63 small letters, digits and dashes; write {}",
                cloud.bucket_word(),
                cloud.form()
            ));
        }
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte);
        let is_segment = |text: &str| !matches!(text, "" | "." | "..") && text.bytes().all(allowed);
        if prefix.len() > MAX_PREFIX_BYTES || !(prefix.is_empty() || prefix.split('/').all(is_segment)) {
            return Err(format!(
                "{prefix:?} is no prefix: it has at most {MAX_PREFIX_BYTES} letters, digits, _, - and ., with single slashes between; write {}",
                cloud.form()
            ));
        }
        Ok(Self { cloud, bucket: bucket.to_owned(), prefix: prefix.to_owned() })
    }
}

impl fmt::Display for BucketPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}/{}", self.cloud.scheme(), self.bucket, self.prefix)
    }
}

impl Cloud {
    const fn scheme(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Gcs => "gs",
            Self::Azure => "az",
        }
    }

    const fn form(self) -> &'static str {
        match self {
            Self::S3 => "s3://BUCKET/PREFIX",
            Self::Gcs => "gs://BUCKET/PREFIX",
            Self::Azure => "az://CONTAINER/PREFIX",
        }
    }

    /// What this cloud calls a bucket.
    pub const fn bucket_word(self) -> &'static str {
        match self {
            Self::S3 | Self::Gcs => "bucket",
            Self::Azure => "container",
        }
    }
}

/// How the cloud is to encrypt what it stores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    /// With keys that S3 keeps.
    Aes256,
    /// With a key of AWS KMS; `None` is the account's default one.
    Kms(Option<String>),
}

/// How a bucket is reached. What is absent comes from the environment of its cloud.
#[derive(Debug, Clone)]
pub struct BucketOptions {
    /// Which bucket.
    pub place: BucketPlace,
    /// URL of the service; `None` is the cloud's own.
    pub endpoint: Option<String>,
    /// S3: region of the bucket.
    pub region: Option<String>,
    /// S3: id of the access key. Azure: name of the storage account.
    pub access_key_id: Option<String>,
    /// S3: secret of the access key. Azure: key of the storage account. GCS: the service account's key, as JSON.
    pub secret_access_key: Option<SecretString>,
    /// Whether `endpoint` may be plain `http`.
    pub allow_http: bool,
    /// S3: the bucket's name is part of the host name.
    pub virtual_hosted_style: bool,
    /// S3: how objects are encrypted; `None` is what the bucket says.
    pub encryption: Option<Encryption>,
}

impl BucketOptions {
    /// A place, with everything else from the environment.
    pub fn new(place: BucketPlace) -> Self {
        Self {
            place,
            endpoint: None,
            region: None,
            access_key_id: None,
            secret_access_key: None,
            allow_http: false,
            virtual_hosted_style: false,
            encryption: None,
        }
    }

    /// Makes the client. Sends nothing.
    pub(super) fn client(&self) -> Result<Client, object_store::Error> {
        match self.place.cloud {
            Cloud::S3 => Ok(Client::of(self.s3(READ_TIMEOUT)?, self.s3(COMPLETE_TIMEOUT)?)),
            Cloud::Gcs => Ok(Client::of(self.gcs(READ_TIMEOUT)?, self.gcs(COMPLETE_TIMEOUT)?)),
            Cloud::Azure => Ok(Client::of(self.azure(READ_TIMEOUT)?, self.azure(COMPLETE_TIMEOUT)?)),
        }
    }

    fn s3(&self, silence: Duration) -> Result<object_store::aws::AmazonS3, object_store::Error> {
        // A key of ours beside a session token of the environment would be neither.
        let builder = match &self.access_key_id {
            Some(_) => AmazonS3Builder::new(),
            None => AmazonS3Builder::from_env(),
        };
        let mut builder = builder
            .with_bucket_name(&self.place.bucket)
            .with_client_options(self.client_options(silence))
            .with_retry(retries())
            .with_virtual_hosted_style_request(self.virtual_hosted_style)
            // One object at a time is deleted; not all that speak S3 know the request that deletes many.
            .with_disable_bulk_delete(true);
        if let (Some(id), Some(secret)) = (&self.access_key_id, &self.secret_access_key) {
            builder = builder.with_access_key_id(id).with_secret_access_key(secret.expose_secret());
        }
        if let Some(region) = &self.region {
            builder = builder.with_region(region);
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(match self.virtual_hosted_style {
                true => hosted(endpoint, &self.place.bucket),
                false => endpoint.clone(),
            });
        }
        match &self.encryption {
            None => {}
            Some(Encryption::Aes256) => builder = builder.with_config(ENCRYPTION.parse()?, "AES256"),
            Some(Encryption::Kms(None)) => builder = builder.with_config(ENCRYPTION.parse()?, "aws:kms"),
            Some(Encryption::Kms(Some(key))) => builder = builder.with_sse_kms_encryption(key),
        }
        builder.build()
    }

    fn gcs(&self, silence: Duration) -> Result<object_store::gcp::GoogleCloudStorage, object_store::Error> {
        let mut builder = match &self.secret_access_key {
            Some(key) => GoogleCloudStorageBuilder::new().with_service_account_key(key.expose_secret()),
            None => GoogleCloudStorageBuilder::from_env(),
        };
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_base_url(endpoint);
        }
        builder
            .with_bucket_name(&self.place.bucket)
            .with_client_options(self.client_options(silence))
            .with_retry(retries())
            .build()
    }

    fn azure(&self, silence: Duration) -> Result<object_store::azure::MicrosoftAzure, object_store::Error> {
        let mut builder = match &self.access_key_id {
            Some(account) => MicrosoftAzureBuilder::new().with_account(account),
            None => MicrosoftAzureBuilder::from_env(),
        };
        if let Some(key) = &self.secret_access_key {
            builder = builder.with_access_key(key.expose_secret());
        }
        if let Some(endpoint) = &self.endpoint {
            builder = builder.with_endpoint(endpoint.clone());
        }
        builder
            .with_container_name(&self.place.bucket)
            .with_client_options(self.client_options(silence))
            .with_retry(retries())
            .build()
    }

    fn client_options(&self, silence: Duration) -> ClientOptions {
        ClientOptions::new()
            .with_allow_http(self.allow_http)
            .with_connect_timeout(CONNECT_TIMEOUT)
            .with_read_timeout(silence)
            // A download lasts as long as its reader takes; silence ends it, not its length.
            .with_timeout_disabled()
            .with_user_agent(HeaderValue::from_static(concat!("longtake/", env!("CARGO_PKG_VERSION"))))
    }
}

fn retries() -> RetryConfig {
    let (init_backoff, max_backoff) = BACKOFF;
    RetryConfig {
        backoff: BackoffConfig { init_backoff, max_backoff, base: 2.0 },
        max_retries: MAX_RETRIES,
        retry_timeout: RETRY_TIMEOUT,
    }
}

/// Puts the bucket's name before the host: the client takes such an endpoint as it is.
fn hosted(endpoint: &str, bucket: &str) -> String {
    match endpoint.split_once("://") {
        Some((scheme, host)) => format!("{scheme}://{bucket}.{host}"),
        None => endpoint.to_owned(),
    }
}

/// The client of one bucket: its objects, uploads in parts, and links.
#[derive(Debug, Clone)]
pub(super) struct Client {
    pub(super) objects: Arc<dyn ObjectStore>,
    /// Waits longer, since an upload cannot change its client for its last request. What it does before that has
    /// [`PART_TIMEOUT`].
    pub(super) uploads: Arc<dyn ObjectStore>,
    pub(super) signer: Arc<dyn Signer>,
}

impl Client {
    fn of<T: ObjectStore + Signer>(client: T, uploads: T) -> Self {
        let client = Arc::new(client);
        Self { objects: Arc::clone(&client) as Arc<dyn ObjectStore>, uploads: Arc::new(uploads), signer: client }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_cloud_a_bucket_and_a_prefix() {
        for (url, cloud, bucket, prefix) in [
            ("s3://our-videos", Cloud::S3, "our-videos", ""),
            ("s3://our-videos/", Cloud::S3, "our-videos", ""),
            ("s3://our.videos/long/take", Cloud::S3, "our.videos", "long/take"),
            ("gs://our_videos/Prod/", Cloud::Gcs, "our_videos", "Prod"),
            ("az://videos/x", Cloud::Azure, "videos", "x"),
        ] {
            let place = BucketPlace::parse(url).unwrap().unwrap();
            assert_eq!((place.cloud, &*place.bucket, &*place.prefix), (cloud, bucket, prefix), "{url}");
        }
        for other in ["file:x", "s3:bucket", "http://bucket/x", "bucket"] {
            assert!(BucketPlace::parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn what_is_no_name_and_no_prefix_says_how_to_write_it() {
        for url in ["s3://", "s3://ab", "s3://Videos", "s3://a_b/x", "s3://-videos", "az://a.b", "gs://videos?x=1"] {
            let problem = BucketPlace::parse(url).unwrap().unwrap_err();
            assert!(problem.contains("is no name of a") && problem.contains("/PREFIX"), "{url}: {problem}");
        }
        let long = format!("s3://videos/{}", "x".repeat(257));
        for url in
            ["s3://videos/a//b", "s3://videos/../b", "s3://videos//a", "s3://videos/a b", "s3://videos/a#", &long]
        {
            let problem = BucketPlace::parse(url).unwrap().unwrap_err();
            assert!(problem.contains("is no prefix"), "{url}: {problem}");
        }
    }

    #[test]
    fn the_bucket_goes_before_the_host() {
        assert_eq!(hosted("https://s3.example.com:9000", "videos"), "https://videos.s3.example.com:9000");
    }
}
