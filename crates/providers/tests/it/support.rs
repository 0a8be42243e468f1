//! What the tests share: a clock, a random source, requests, accounts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::TryStreamExt;
use longtake_core::artifact::{ArtifactKey, Digest};
use longtake_core::id::{AccountId, AttemptNo, ClientRef, JobId, ProviderJobId, Random};
use longtake_core::provider::{
    Call, FindRequest, InputBytes, Output, Provider, ProviderError, ProviderState, ProviderStatus, SubmitRequest,
};
use longtake_core::request::{InputImage, Size, VideoRequest};
use longtake_core::time::{Clock, Timestamp};
use longtake_providers::registry::{AccountConfig, ProviderDeps, build};
use secrecy::SecretString;

/// The key of every account here; it must turn up nowhere.
pub const KEY: &str = "sk-test-key";
/// Longest wait for a simulated job.
pub const BOUND: Duration = Duration::from_secs(60);
const ACCOUNT: AccountId = AccountId(1);

/// The machine's clock.
pub struct RealClock(Instant);

impl Clock for RealClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// Different numbers, the same in each run.
pub struct Counting(AtomicU64);

impl Random for Counting {
    fn fill(&self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.0.fetch_add(1, Ordering::Relaxed) as u8;
        }
    }
}

static NEXT: AtomicU64 = AtomicU64::new(1);

fn next() -> u64 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A folder of this test's own; removed by [`Folder::drop`].
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("longtake-providers-{}-{}", std::process::id(), next()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _gone = std::fs::remove_dir_all(&self.0);
    }
}

pub fn deps(data_dir: PathBuf) -> ProviderDeps {
    ProviderDeps { clock: Arc::new(RealClock(Instant::now())), random: Arc::new(Counting(AtomicU64::new(0))), data_dir }
}

/// An account of a provider at an address, with the key.
pub fn account(provider: &str, base_url: Option<&str>) -> AccountConfig {
    let mut account = AccountConfig::new(ACCOUNT, "tested", provider);
    account.base_url = base_url.map(str::to_owned);
    account.api_key = base_url.map(|_| SecretString::from(KEY));
    account
}

/// The account's adapter, its data in a folder that nothing is written to unless it is the sandbox's.
pub fn provider(account: AccountConfig, data_dir: PathBuf) -> Arc<dyn Provider> {
    let built = build(vec![account], deps(data_dir)).unwrap();
    Arc::clone(&built[&ACCOUNT])
}

pub fn remote(account: AccountConfig) -> Arc<dyn Provider> {
    provider(account, PathBuf::from("/nonexistent"))
}

pub fn call() -> Call {
    Call::new(ACCOUNT)
}

pub fn now() -> Timestamp {
    RealClock(Instant::now()).now()
}

/// A request; 1280x720, without options.
pub fn request(prompt: &str, seconds: u32) -> VideoRequest {
    VideoRequest {
        prompt: prompt.into(),
        model: "public".into(),
        seconds,
        size: Size { width: 1280, height: 720 },
        input: None,
        metadata: BTreeMap::new(),
        priority: 0,
        provider_options: None,
        source: None,
        max_cost_usd_micros: None,
        webhook: None,
    }
}

/// A submission with a client ref of its own.
pub fn submission(model: &str, request: VideoRequest) -> SubmitRequest {
    let mut hash = [0; 16];
    hash[..8].copy_from_slice(&next().to_be_bytes());
    hash[8..].copy_from_slice(&u64::from(std::process::id()).to_be_bytes());
    SubmitRequest {
        job: JobId::from_bytes([7; 16]),
        attempt: AttemptNo(1),
        model: model.into(),
        request: Arc::new(request),
        input: None,
        callback_url: None,
        client_ref: ClientRef::from_hash(&hash),
    }
}

pub fn find_request(submission: &SubmitRequest, since: Timestamp) -> FindRequest {
    FindRequest {
        client_ref: submission.client_ref.clone(),
        model: Arc::clone(&submission.model),
        request: Arc::clone(&submission.request),
        since,
    }
}

/// The same submission with an input image, as the engine makes it: the reference in the request, the bytes beside it.
pub fn with_image(submission: SubmitRequest) -> SubmitRequest {
    let image = png();
    let (media_type, bytes) = (image.media_type.clone(), image.bytes.len() as u64);
    let reference =
        InputImage { key: ArtifactKey::from_stored("1/inputs/0"), media_type, bytes, sha256: Digest([0; 32]) };
    let request = VideoRequest { input: Some(reference), ..VideoRequest::clone(&submission.request) };
    SubmitRequest { request: Arc::new(request), input: Some(image), ..submission }
}

/// A small PNG.
pub fn png() -> InputBytes {
    const PNG: &[u8] = &[
        0x89, b'P', b'N', b'G', 0x0d, 0x0a, 0x1a, 0x0a, 0, 0, 0, 0x0d, b'I', b'H', b'D', b'R', 0, 0, 0, 1, 0, 0, 0, 1,
        8, 2, 0, 0, 0, 0x90, 0x77, 0x53, 0xde, 0, 0, 0, 0x0c, b'I', b'D', b'A', b'T', 0x78, 0x9c, 0x63, 0xf8, 0xcf,
        0xc0, 0, 0, 3, 1, 1, 0, 0xc9, 0xfe, 0x92, 0xef, 0, 0, 0, 0, b'I', b'E', b'N', b'D', 0xae, 0x42, 0x60, 0x82,
    ];
    InputBytes { media_type: "image/png".into(), bytes: Bytes::from_static(PNG) }
}

/// Polls until the job is no longer pending.
pub async fn ended(provider: &dyn Provider, job: &ProviderJobId) -> ProviderStatus {
    let mut last = None;
    longtake_testing::wait_until("the provider job ends", BOUND, async || {
        let status = provider.poll(&call(), job).await;
        let ended = status.as_ref().is_ok_and(|status| status.state != ProviderState::Pending);
        last = Some(status);
        ended
    })
    .await;
    last.unwrap().unwrap()
}

/// The only output of a finished job.
pub fn output(status: &ProviderStatus) -> Output {
    match &status.state {
        ProviderState::Done(outputs) if outputs.len() == 1 => outputs[0].clone(),
        other => panic!("not done: {other:?}"),
    }
}

/// All bytes of an output.
pub async fn download(provider: &dyn Provider, output: &Output) -> Result<(Vec<u8>, Option<u64>), ProviderError> {
    let fetched = provider.fetch(&call(), output).await?;
    let chunks: Vec<Bytes> = fetched.stream.try_collect().await?;
    Ok((chunks.concat(), fetched.length))
}
