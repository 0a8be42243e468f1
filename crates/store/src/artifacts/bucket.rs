//! Bytes in a bucket: the artifact store of many machines, in the object storage of a cloud or one's own.
//!
//! Keys are those of files, below a prefix. Every request has time limits and is repeated a few times; a download goes on
//! where it broke off. Memory does not grow with an object: a few parts up, a few chunks down.
//! Absent: which cloud, and how it is reached ([`super::cloud`]); writing (`upload`).
//! Why so: docs/adr/0024-buckets.md.

use std::error::Error;
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use longtake_core::artifact::{ArtifactError, ArtifactKey, ArtifactStore, ArtifactStream, ArtifactWriter, LinkAnswer};
use object_store::client::HttpError;
use object_store::path::Path as Location;
use object_store::signer::{Method, SignedUrlOptions};
use object_store::{GetOptions, GetRange, GetResult, ObjectMeta, ObjectStoreExt};
use tokio::sync::{OnceCell, Semaphore};

use super::cloud::{BucketOptions, BucketPlace, Client, Cloud};
use super::upload::{BucketWriter, MAX_PARTS_AT_ONCE, Target};
use super::{CHUNK_BYTES, location};

/// Times in a row that a download is opened anew without bringing a byte.
const MAX_RESUMES: u32 = 3;
/// Longest link that all three clouds sign.
pub const MAX_LINK: Duration = Duration::from_secs(7 * 24 * 3_600);
/// Which installation the place belongs to. No key of an artifact looks like it.
const OWNER: &str = "longtake-installation.txt";

/// Objects in a bucket. Cheap to clone.
#[derive(Debug, Clone)]
pub struct BucketArtifacts {
    client: Client,
    place: Arc<BucketPlace>,
    prefix: Location,
    room: Arc<Semaphore>,
    /// Who asks for what is here, once that was said.
    installation: Arc<OnceLock<String>>,
    /// Set when the place was seen to be that one's.
    confirmed: Arc<OnceCell<()>>,
}

impl BucketArtifacts {
    /// Makes the client. Sends nothing: an unreachable cloud is met by the first call.
    ///
    /// # Errors
    /// What these options, or the environment that completes them, lack.
    pub fn open(options: &BucketOptions) -> Result<Self, String> {
        let client = options.client().map_err(|error| error.to_string())?;
        let prefix = Location::parse(&options.place.prefix).map_err(|error| error.to_string())?;
        Ok(Self {
            client,
            place: Arc::new(options.place.clone()),
            prefix,
            room: Arc::new(Semaphore::new(MAX_PARTS_AT_ONCE)),
            installation: Arc::default(),
            confirmed: Arc::default(),
        })
    }

    /// Which bucket.
    pub fn place(&self) -> &BucketPlace {
        &self.place
    }

    /// Whether the place belongs to this installation, whatever text it is known by; a place that is nobody's becomes
    /// its own. Two installations in one place would each sweep away what only the other refers to, so nothing is listed
    /// before this was asked; an answer that could not be had is asked for again then.
    ///
    /// # Errors
    /// The cloud did not answer, knows no such bucket, or did not let us.
    pub async fn belongs_to(&self, installation: &str) -> Result<bool, ArtifactError> {
        let known = self.installation.get_or_init(|| installation.to_owned());
        let ours = known == installation && self.asked(installation).await?;
        if ours {
            // Set already is as good.
            drop(self.confirmed.set(()));
        }
        Ok(ours)
    }

    async fn confirm(&self) -> Result<(), ArtifactError> {
        let other = |why: &str| Err(ArtifactError::Other(why.into()));
        let asked = async || match self.installation.get() {
            None => other("nobody said whose place in the bucket this is"),
            Some(installation) if self.asked(installation).await? => Ok(()),
            Some(_) => other("the place in the bucket belongs to another installation"),
        };
        self.confirmed.get_or_try_init(asked).await.copied()
    }

    async fn asked(&self, installation: &str) -> Result<bool, ArtifactError> {
        // Also shows now that we may list, which the sweep will do.
        self.client.objects.list(Some(&self.prefix)).try_next().await.map_err(error_of)?;
        let at = self.owner();
        match self.client.objects.get(&at).await.map_err(error_of) {
            Err(ArtifactError::NotFound) => {}
            Err(error) => return Err(error),
            Ok(found) => {
                let text = found.bytes().await.map_err(error_of)?;
                return Ok(text.trim_ascii() == installation.as_bytes());
            }
        }
        let text = Bytes::from(format!("{installation}\n"));
        self.client.objects.put(&at, text.into()).await.map_err(error_of)?;
        Ok(true)
    }

    /// The object that says whose the place is.
    pub fn owner(&self) -> Location {
        self.prefix.clone().join(OWNER)
    }

    fn at(&self, key: &ArtifactKey) -> Result<Location, ArtifactError> {
        // Allowed as the name of a file, so it has nothing that would be escaped.
        let key = location(key)?;
        Ok(self.prefix.parts().chain(key.parts()).collect())
    }

    /// The key of an object of ours. A bucket may hold more than ours, and what is listed is about to be swept away.
    fn key_of(&self, object: &ObjectMeta) -> Option<ArtifactKey> {
        let key: Location = object.location.prefix_match(&self.prefix)?.collect();
        is_ours(key.as_ref()).then(|| ArtifactKey::from_stored(key.as_ref()))
    }

    /// Opens a part; `None` where it begins behind the end.
    async fn get(&self, at: &Location, range: &Range<u64>) -> Result<Option<GetResult>, ArtifactError> {
        let wanted = match range.end {
            u64::MAX => GetRange::Offset(range.start),
            _ => GetRange::Bounded(range.clone()),
        };
        let options = GetOptions { range: Some(wanted), ..GetOptions::default() };
        match self.client.objects.get_opts(at, options).await.map_err(error_of) {
            Ok(found) => Ok(Some(found)),
            Err(ArtifactError::NotFound) => Err(ArtifactError::NotFound),
            // Each cloud says in its own words that a range lies outside; all of them tell how long the object is.
            Err(error) => match self.client.objects.head(at).await {
                Ok(object) if object.size <= range.start => Ok(None),
                _ => Err(error),
            },
        }
    }
}

/// Whether a key looks like one that this program makes: `PROJECT/SHARD/video_…` or `PROJECT/inputs/DIGEST`.
fn is_ours(key: &str) -> bool {
    let is_hex = |text: &str, len: usize| {
        text.len() == len && text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
    };
    let mut segments = key.split('/');
    let (Some(project), Some(folder), Some(name), None) =
        (segments.next(), segments.next(), segments.next(), segments.next())
    else {
        return false;
    };
    let is_project = !project.is_empty() && project.bytes().all(|byte| byte.is_ascii_digit());
    is_project
        && match folder {
            "inputs" => is_hex(name, 64),
            shard => is_hex(shard, 2) && name.starts_with("video_"),
        }
}

/// What the client's error means to us. It names statuses and codes only in its text.
pub(super) fn error_of(error: object_store::Error) -> ArtifactError {
    const NO_BUCKET: &[&str] = &["NoSuchBucket", "bucket does not exist"];
    const FULL: &[&str] = &["507", "QuotaExceeded", "StorageFull", "InsufficientCapacity"];
    const BUSY: &[&str] = &["429", "500", "502", "503", "504"];
    let text = error.to_string();
    let says = |codes: &[&str]| codes.iter().any(|code| text.contains(code));
    let status = |codes: &[&str]| codes.iter().any(|code| text.contains(&format!("status code: {code}")));
    if says(NO_BUCKET) {
        return ArtifactError::Other("there is no such bucket".into());
    }
    if says(&["ContainerNotFound"]) {
        return ArtifactError::Other("there is no such container".into());
    }
    if matches!(error, object_store::Error::NotFound { .. }) {
        return ArtifactError::NotFound;
    }
    if says(FULL.get(1..).unwrap_or_default()) || status(&FULL[..1]) {
        return ArtifactError::Full;
    }
    let mut cause: Option<&(dyn Error + 'static)> = Some(&error);
    // A chain of causes ends; nothing here makes a long one.
    while let Some(current) = cause {
        if current.is::<HttpError>() {
            return ArtifactError::Unavailable(error.into());
        }
        cause = current.source();
    }
    if status(BUSY) { ArtifactError::Unavailable(error.into()) } else { ArtifactError::Other(error.into()) }
}

/// A download that goes on where it broke off.
struct Download {
    bucket: BucketArtifacts,
    at: Location,
    /// What is still to come.
    range: Range<u64>,
    /// The object that was opened first; another one under the same key is not its continuation.
    tag: Option<String>,
    body: Option<BoxStream<'static, object_store::Result<Bytes>>>,
    /// Bytes that came in a piece longer than a chunk.
    rest: Bytes,
    failures: u32,
}

impl Download {
    async fn next(&mut self) -> Result<Option<Bytes>, ArtifactError> {
        while self.rest.is_empty() {
            if self.range.is_empty() {
                return Ok(None);
            }
            let failed = match self.body.as_mut() {
                None => self.resume().await.err(),
                Some(body) => match body.next().await {
                    Some(Ok(bytes)) => {
                        self.rest = bytes;
                        None
                    }
                    Some(Err(error)) => Some(error_of(error)),
                    None => Some(ArtifactError::Other("the bucket ended an object early".into())),
                },
            };
            if let Some(error) = failed {
                self.body = None;
                self.failures += 1;
                if self.failures > MAX_RESUMES {
                    return Err(error);
                }
                tracing::debug!(key = %self.at, %error, "a download goes on where it broke off");
            }
        }
        self.failures = 0;
        let left = usize::try_from(self.range.end - self.range.start).unwrap_or(usize::MAX);
        let most = usize::try_from(CHUNK_BYTES).unwrap_or(usize::MAX).min(left);
        let chunk = self.rest.split_to(self.rest.len().min(most));
        self.range.start += u64::try_from(chunk.len()).unwrap_or(u64::MAX);
        Ok(Some(chunk))
    }

    async fn resume(&mut self) -> Result<(), ArtifactError> {
        // Compared here: not all that speak S3 look at `If-Match` of a read.
        match self.bucket.get(&self.at, &self.range).await? {
            Some(found) if found.meta.e_tag == self.tag => self.body = Some(found.into_stream()),
            _ => return Err(ArtifactError::Other("an object changed while it was read".into())),
        }
        Ok(())
    }
}

#[async_trait]
impl ArtifactStore for BucketArtifacts {
    async fn writer(&self, key: &ArtifactKey) -> Result<Box<dyn ArtifactWriter>, ArtifactError> {
        let target = Target { client: self.client.clone(), location: self.at(key)?, room: Arc::clone(&self.room) };
        Ok(Box::new(BucketWriter::new(target)))
    }

    async fn len(&self, key: &ArtifactKey) -> Result<u64, ArtifactError> {
        Ok(self.client.objects.head(&self.at(key)?).await.map_err(error_of)?.size)
    }

    async fn read(&self, key: &ArtifactKey, range: Range<u64>) -> Result<Bytes, ArtifactError> {
        let chunks: Vec<Bytes> = self.stream(key, range).await?.try_collect().await?;
        let mut chunks = chunks.into_iter();
        match (chunks.next(), chunks.len()) {
            (None, _) => Ok(Bytes::new()),
            (Some(only), 0) => Ok(only),
            (Some(first), _) => Ok(std::iter::once(first).chain(chunks).collect::<Vec<_>>().concat().into()),
        }
    }

    /// An object that is deleted meanwhile is read to the end of what is under way, and is gone after that.
    async fn stream(&self, key: &ArtifactKey, range: Range<u64>) -> Result<ArtifactStream, ArtifactError> {
        let at = self.at(key)?;
        if range.is_empty() {
            // Whether there is such an object, one asks for its length.
            return Ok(futures::stream::empty().boxed());
        }
        let Some(found) = self.get(&at, &range).await? else { return Ok(futures::stream::empty().boxed()) };
        let download = Download {
            bucket: self.clone(),
            at,
            range: range.start..range.end.min(found.meta.size),
            tag: found.meta.e_tag.clone(),
            body: Some(found.into_stream()),
            rest: Bytes::new(),
            failures: 0,
        };
        let stream = futures::stream::try_unfold(download, |mut download| async move {
            Ok(download.next().await?.map(|chunk| (chunk, download)))
        });
        Ok(stream.boxed())
    }

    async fn delete(&self, key: &ArtifactKey) -> Result<(), ArtifactError> {
        match self.client.objects.delete(&self.at(key)?).await.map_err(error_of) {
            Ok(()) | Err(ArtifactError::NotFound) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// A bucket lists in the order of its keys, a thousand at a time. Some pass over where they are asked to begin: what
    /// was seen is left out here, or a sweep would look at the same page for ever.
    async fn older_than(
        &self,
        age: Duration,
        after: Option<&ArtifactKey>,
        limit: usize,
    ) -> Result<Vec<ArtifactKey>, ArtifactError> {
        self.confirm().await?;
        let prefix = (!self.prefix.as_ref().is_empty()).then_some(&self.prefix);
        let after = after.map(|after| self.at(after)).transpose()?;
        let mut objects = match &after {
            Some(after) => self.client.objects.list_with_offset(prefix, after),
            None => self.client.objects.list(prefix),
        };
        let mut keys = Vec::new();
        while keys.len() < limit
            && let Some(object) = objects.try_next().await.map_err(error_of)?
        {
            if after.as_ref().is_none_or(|after| object.location > *after)
                && is_older(&object, age)
                && let Some(key) = self.key_of(&object)
            {
                keys.push(key);
            }
        }
        Ok(keys)
    }

    /// The cloud has room for as long as it is paid.
    async fn free_bytes(&self) -> Option<u64> {
        None
    }

    async fn link(
        &self,
        key: &ArtifactKey,
        valid_for: Duration,
        answer: &LinkAnswer<'_>,
    ) -> Result<Option<String>, ArtifactError> {
        let (at, valid_for) = (self.at(key)?, valid_for.min(MAX_LINK));
        let options = match self.place.cloud {
            // Its signature leaves no place for what the answer says; the object itself says what it is.
            Cloud::Azure => SignedUrlOptions::new(),
            Cloud::S3 | Cloud::Gcs => SignedUrlOptions::new().with_query([
                ("response-content-type", answer.media_type.to_owned()),
                ("response-content-disposition", format!("inline; filename=\"{}\"", answer.file_name)),
            ]),
        };
        let signed = self.client.signer.signed_url_opts(Method::GET, &at, valid_for, &options).await;
        Ok(Some(signed.map_err(error_of)?.into()))
    }
}

/// The cloud's clock wrote it and ours reads it; the ages that are asked for are longer than they differ.
fn is_older(object: &ObjectMeta, age: Duration) -> bool {
    let since = u64::try_from(object.last_modified.timestamp_millis()).unwrap_or(0);
    let written = SystemTime::UNIX_EPOCH + Duration::from_millis(since);
    written.elapsed().unwrap_or_default() >= age
}

#[cfg(test)]
mod tests {
    use longtake_core::artifact::Digest;
    use longtake_core::id::{AttemptNo, Fence, JobId, ProjectId};

    use super::*;

    #[test]
    fn only_keys_of_this_program_are_its_own() {
        let job = JobId::from_bytes([7; 16]);
        let output = ArtifactKey::output(ProjectId(12), job, AttemptNo(1), 0, Fence(3));
        let input = ArtifactKey::input(ProjectId(1), &Digest([0xab; 32]));
        for ours in [&output, &input, &ArtifactKey::derived(&output, "thumbnail.webp")] {
            assert!(is_ours(ours.as_str()), "{ours}");
        }
        let others =
            ["backup.tar", "1/inputs/readme.txt", "1/ab/report.csv", "x/ab/video_1", "1/ab/video_1/x", "", OWNER];
        for other in others {
            assert!(!is_ours(other), "{other}");
        }
    }
}
