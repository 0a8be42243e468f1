//! The sandbox's six calls.

use bytes::Bytes;
use futures::StreamExt;
use longtake_media::decode_picture;
use tokio::io::AsyncReadExt;

use super::*;

/// Bytes read at once from a rendered video.
const CHUNK_BYTES: usize = 64 * 1024;

#[async_trait]
impl Provider for Sandbox {
    fn name(&self) -> &'static str {
        NAME
    }

    fn profile(&self, _account: AccountId) -> &ProviderProfile {
        &self.profile
    }

    fn capabilities(&self, _account: AccountId, model: &str) -> Option<ModelCapabilities> {
        (model == MODEL).then(|| ModelCapabilities {
            seconds: (1..=longtake_media::MAX_SECONDS).collect(),
            default_seconds: 4,
            sizes: Vec::new(),
            default_size: Size { width: 1280, height: 720 },
            input_image: InputSupport::Optional,
            max_prompt_chars: 32_000,
            price_usd_micros_per_second: Some(self.prices.get(MODEL).copied().unwrap_or(0)),
            remix: RemixSupport::FromPicture,
            sunset: None,
        })
    }

    fn check(&self, _account: AccountId, _model: &str, request: &VideoRequest) -> Result<(), Unsupported> {
        check(request)
    }

    fn knows_option(&self, _account: AccountId, _model: &str, name: &str) -> bool {
        OPTIONS.contains(&name)
    }

    fn price(&self, _account: AccountId, model: &str, request: &VideoRequest) -> Option<Price> {
        if model != MODEL {
            return None;
        }
        let free = Price { usd_micros: 0, source: PriceSource::Catalogue };
        Some(self.prices.get(MODEL).map_or(free, |price| Price::configured(*price, request.seconds)))
    }

    async fn submit(&self, call: &Call, request: &SubmitRequest) -> Result<ProviderJobId, ProviderError> {
        let began = self.clock.monotonic();
        self.sweep();
        let accepted = self.accept(request).await;
        let answer = match &accepted {
            Ok(id) => format!("accepted as {id}"),
            Err(error) => error.to_string(),
        };
        self.record(call, "submit", request.client_ref.as_str(), began, &answer);
        accepted
    }

    async fn find(&self, call: &Call, request: &FindRequest) -> Result<Found, ProviderError> {
        let began = self.clock.monotonic();
        let id = format!("{PREFIX}{}", request.client_ref);
        let known = match name_of(&id) {
            Some(name) => self.load(name).await?.is_some(),
            None => false,
        };
        self.record(call, "find", &id, began, if known { "found" } else { "not found" });
        let candidates = if known { ProviderJobId::new(&id).into_iter().collect() } else { Vec::new() };
        Ok(Found { candidates, complete: true })
    }

    async fn poll(&self, call: &Call, job: &ProviderJobId) -> Result<ProviderStatus, ProviderError> {
        let began = self.clock.monotonic();
        let status = self.look(job).await?;
        let answer = match &status.state {
            ProviderState::Pending => "pending",
            ProviderState::Done(_) => "done",
            ProviderState::Failed(failure) => failure.code.code(),
            ProviderState::NotFound => "not found",
        };
        self.record(call, "poll", job.as_str(), began, answer);
        Ok(status)
    }

    async fn fetch(&self, call: &Call, output: &Output) -> Result<Fetched, ProviderError> {
        let began = self.clock.monotonic();
        let name = name_of(&output.source).ok_or(ProviderError::Gone)?.to_owned();
        let file = match tokio::fs::File::open(self.folder.video(&name)).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(ProviderError::Gone),
            Err(error) => return Err(broken(error)),
        };
        let length = file.metadata().await.map_err(broken)?.len();
        let (renderings, now) = (Arc::clone(&self.renderings), self.clock.now().as_micros());
        let fetched = name.clone();
        on_disk(move || renderings.change(&fetched, |entry| entry.fetched_at = entry.fetched_at.or(Some(now)))).await?;
        self.record(call, "fetch", &name, began, &format!("[{length} bytes]"));
        let stream = futures::stream::try_unfold(file, |mut file| async move {
            let mut chunk = vec![0; CHUNK_BYTES];
            let read = file.read(&mut chunk).await.map_err(broken)?;
            chunk.truncate(read);
            Ok((read > 0).then(|| (Bytes::from(chunk), file)))
        });
        Ok(Fetched { stream: stream.boxed(), length: Some(length) })
    }

    async fn cancel(&self, call: &Call, job: &ProviderJobId) -> Result<CancelAnswer, ProviderError> {
        let began = self.clock.monotonic();
        let name = name_of(job.as_str()).ok_or(ProviderError::Gone)?.to_owned();
        let entry = self.load(&name).await?.ok_or(ProviderError::Gone)?;
        let answer = match self.look(job).await?.state {
            _ if entry.stopped_at.is_some() => CancelAnswer::Stopped,
            ProviderState::Pending => {
                let (renderings, now) = (Arc::clone(&self.renderings), self.clock.now().as_micros());
                let stopped = name.clone();
                on_disk(move || renderings.change(&stopped, |entry| entry.stopped_at = Some(now))).await?;
                self.renderings.stop(&name);
                CancelAnswer::Stopped
            }
            _ => CancelAnswer::AlreadyFinished,
        };
        self.record(call, "cancel", job.as_str(), began, &format!("{answer:?}"));
        Ok(answer)
    }

    async fn check_account(&self, _call: &Call) -> Result<String, ProviderError> {
        Ok("built in".to_owned())
    }
}

impl Sandbox {
    async fn accept(&self, request: &SubmitRequest) -> Result<ProviderJobId, ProviderError> {
        let rejected = |message: &str| ProviderError::Rejected(Failure::new(FailureCode::InvalidRequest, message));
        check(&request.request).map_err(|error| rejected(&error.message))?;
        let script = Script::parse(&request.request.prompt).map_err(|error| rejected(&error.message))?;
        let fps = frame_rate(&request.request).map_err(|error| rejected(&error.message))?;
        let id = format!("{PREFIX}{}", request.client_ref);
        let (Some(name), Some(job)) = (name_of(&id), ProviderJobId::new(&id)) else {
            return Err(rejected("the client ref cannot be a file's name"));
        };
        let entry = Entry {
            job: request.job.to_string(),
            attempt: request.attempt.0,
            prompt: request.request.prompt.to_string(),
            seconds: request.request.seconds,
            width: request.request.size.width,
            height: request.request.size.height,
            fps,
            has_input: request.input.is_some(),
            accepted_at: self.clock.now().as_micros(),
            stopped_at: None,
            rendered_at: None,
            fetched_at: None,
        };
        let input = request.input.as_ref().map(|input| input.bytes.clone());
        let entry = self.keep(name, entry, input).await?;
        // Accepted; from here on the answer may be slow or lost, the job is not.
        if !script.hang && script.failure_of(entry.attempt).is_none() && entry.rendered_at.is_none() {
            self.renderings.of(name, &entry);
        }
        if !script.slow_submit.is_zero() {
            self.clock.sleep(script.slow_submit).await;
        }
        Ok(job)
    }

    /// Makes a job durable, or returns what was kept of it before: the client ref is its idempotency key.
    async fn keep(&self, name: &str, entry: Entry, input: Option<Bytes>) -> Result<Entry, ProviderError> {
        let (folder, name) = (Arc::clone(&self.folder), name.to_owned());
        let kept = on_disk(move || {
            if let Some(known) = folder.load(&name)? {
                return Ok(Ok(known));
            }
            if let Some(Err(error)) = input.as_deref().map(decode_picture) {
                return Ok(Err(error));
            }
            folder.accept(&name, &entry, input.as_deref())?;
            Ok(Ok(entry))
        });
        kept.await?.map_err(|error| {
            let message = format!("the input image cannot be used: {error}");
            ProviderError::Rejected(Failure::new(FailureCode::InvalidRequest, &message))
        })
    }

    async fn look(&self, job: &ProviderJobId) -> Result<ProviderStatus, ProviderError> {
        let nothing = ProviderStatus { state: ProviderState::NotFound, progress: None, retry_after: None };
        let Some(name) = name_of(job.as_str()).map(str::to_owned) else { return Ok(nothing) };
        let (folder, looked) = (Arc::clone(&self.folder), name.clone());
        let found = on_disk(move || {
            let entry = folder.load(&looked)?;
            Ok(entry.map(|entry| (entry, folder.video(&looked).is_file())))
        });
        let Some((entry, has_video)) = found.await? else { return Ok(nothing) };
        let script = Script::parse(&entry.prompt).map_err(|error| broken(Seen(error.to_string())))?;
        let (state, progress) = self.status(&name, &entry, &script, has_video);
        let progress = progress.filter(|_| script.progress);
        Ok(ProviderStatus { state, progress, retry_after: None })
    }
}
