//! The provider's bytes become ours: streamed with bounded memory, counted, digested, probed, and only then `completed`.

use std::time::Duration;

use aws_lc_rs::digest;
use futures::StreamExt;
use longtake_core::apply::Input;
use longtake_core::artifact::{Artifact, ArtifactError, ArtifactKey, Digest, ProbeError};
use longtake_core::attempt::Attempt;
use longtake_core::failpoint;
use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::ProviderJobId;
use longtake_core::provider::{Call, Exchange, Output, Provider, ProviderError, ProviderProfile, ProviderState};
use longtake_core::state::JobState;

use crate::context::Context;
use crate::metrics::{add, count};
use crate::steps::{ask, cannot_drive, changed, decide, later};
use crate::task::{Done, Task};

/// Outputs of one attempt that are stored.
const MAX_OUTPUTS: usize = 16;
/// Copies that are no playable video before the source counts as having none.
const MAX_UNPLAYABLE: u16 = 3;
/// Silence of a source after which its copy is begun anew.
const CHUNK_LIMIT: Duration = Duration::from_secs(60);
/// Time for a source to begin answering.
const OPEN_LIMIT: Duration = Duration::from_secs(60);

/// Why a copy did not succeed.
pub(crate) enum CopyError {
    /// Try again, with a fresh link: nothing is proved.
    Again(String),
    /// The link is dead.
    Gone,
    /// The bytes came whole and are no video.
    Unplayable(String),
    /// It is larger than this gateway accepts.
    TooLarge,
}

/// What a storing step found.
pub(crate) enum Copied {
    /// All outputs are ours.
    All(Vec<Artifact>),
    /// Later.
    Later(Option<Duration>),
    /// Never.
    Never(Failure),
}

/// Copies what the provider offers and completes the job.
pub(crate) async fn perform(context: &Context, mut task: Task) -> Done {
    let JobState::Storing { provider_job, .. } = task.record.state.clone() else { return changed(task) };
    let Some(attempt) = task.attempt().cloned() else { return changed(task) };
    let Some((provider, profile)) = context.provider(&attempt) else {
        return cannot_drive(context, task, "the account of its attempt is not configured");
    };
    let (copied, exchanges) = copy_all(context, &mut task, &attempt, &provider_job, &*provider, &profile).await;
    match copied {
        Copied::All(artifacts) => {
            failpoint::hit("C13");
            decide(context, task, Input::Stored(artifacts), exchanges).await
        }
        Copied::Later(retry_after) => later(task, &profile, retry_after),
        Copied::Never(failure) => decide(context, task, Input::SourceGone(failure), exchanges).await,
    }
}

/// Copies every output of an attempt; also for late ones.
pub(crate) async fn copy_all(
    context: &Context,
    task: &mut Task,
    attempt: &Attempt,
    provider_job: &ProviderJobId,
    provider: &dyn Provider,
    profile: &ProviderProfile,
) -> (Copied, Vec<Exchange>) {
    let mut outputs = std::mem::take(&mut task.memory.outputs);
    let mut exchanges = Vec::new();
    if outputs.is_empty() {
        let (status, retry_after, asked) = ask(context, task, provider_job).await;
        exchanges = asked;
        match status.map(|status| status.state) {
            Some(ProviderState::Done(fresh)) => outputs = fresh,
            Some(ProviderState::Failed(failure)) => return (Copied::Never(failure), exchanges),
            Some(ProviderState::NotFound) => return (gone(context, task, profile), exchanges),
            Some(ProviderState::Pending) | None => return (Copied::Later(retry_after), exchanges),
        }
    }
    let mut artifacts = Vec::with_capacity(outputs.len());
    for (n, output) in (0u16..).zip(outputs.iter().take(MAX_OUTPUTS)) {
        let key = ArtifactKey::output(task.record.project, task.work.job, attempt.n, n, task.fence);
        match copy(context, attempt, provider, output, &key).await {
            Ok((bytes, sha256, media)) => artifacts.push(Artifact {
                attempt: attempt.n,
                n,
                key,
                bytes,
                sha256,
                media_type: output.media_type.clone(),
                media,
            }),
            Err(error) => {
                count(&context.metrics.artifact_errors);
                return (failed(context, task, profile, error), exchanges);
            }
        }
    }
    let bytes = artifacts.iter().map(|artifact| artifact.bytes).sum();
    add(&context.metrics.artifact_bytes, bytes);
    add(&context.metrics.artifacts_stored, artifacts.len() as u64);
    (Copied::All(artifacts), exchanges)
}

fn failed(context: &Context, task: &mut Task, profile: &ProviderProfile, error: CopyError) -> Copied {
    match error {
        CopyError::Again(why) => {
            tracing::warn!(job.id = %task.work.job, why, "a copy failed, it is begun anew");
            Copied::Later(None)
        }
        CopyError::Gone => gone(context, task, profile),
        CopyError::Unplayable(why) => {
            task.memory.tries = task.memory.tries.saturating_add(1);
            if task.memory.tries < MAX_UNPLAYABLE {
                return Copied::Later(None);
            }
            Copied::Never(Failure::new(FailureCode::ArtifactUnavailable, &format!("the provider's result is {why}")))
        }
        CopyError::TooLarge => {
            let limit = context.parts.config.max_artifact_bytes;
            let message = format!("the provider's result is longer than the limit of {limit} bytes");
            Copied::Never(Failure::new(FailureCode::ArtifactUnavailable, &message))
        }
    }
}

/// A dead link is no verdict at once: a fresh one is asked for until the settle time has passed.
fn gone(context: &Context, task: &mut Task, profile: &ProviderProfile) -> Copied {
    let now = context.now();
    let since = *task.memory.not_found_since.get_or_insert(now);
    if now.since(since) < profile.absence_settle {
        return Copied::Later(None);
    }
    Copied::Never(Failure::new(
        FailureCode::ArtifactUnavailable,
        "the provider finished the video, but its bytes cannot be had any more",
    ))
}

type Copy = (u64, Digest, longtake_core::artifact::MediaInfo);

async fn copy(
    context: &Context,
    attempt: &Attempt,
    provider: &dyn Provider,
    output: &Output,
    key: &ArtifactKey,
) -> Result<Copy, CopyError> {
    let call = Call::new(attempt.account);
    let opened = context.within(OPEN_LIMIT, provider.fetch(&call, output)).await;
    let mut fetched = match opened {
        Some(Ok(fetched)) => fetched,
        Some(Err(ProviderError::Gone)) => return Err(CopyError::Gone),
        Some(Err(error)) => return Err(CopyError::Again(error.to_string())),
        None => return Err(CopyError::Again("the source did not answer in time".into())),
    };
    let limit = context.parts.config.max_artifact_bytes;
    if fetched.length.is_some_and(|length| length > limit) {
        return Err(CopyError::TooLarge);
    }
    let mut writer = context.parts.artifacts.writer(key).await.map_err(again)?;
    let mut sum = digest::Context::new(&digest::SHA256);
    let mut bytes = 0u64;
    loop {
        let chunk = match context.within(CHUNK_LIMIT, fetched.stream.next()).await {
            Some(Some(Ok(chunk))) => chunk,
            Some(Some(Err(error))) => return Err(CopyError::Again(error.to_string())),
            Some(None) => break,
            None => return Err(CopyError::Again("the source fell silent".into())),
        };
        bytes += chunk.len() as u64;
        if bytes > limit {
            return Err(CopyError::TooLarge);
        }
        sum.update(&chunk);
        writer.write(chunk).await.map_err(again)?;
    }
    if fetched.length.is_some_and(|length| length != bytes) {
        let length = fetched.length.unwrap_or(0);
        return Err(CopyError::Again(format!("the source ended after {bytes} of {length} bytes")));
    }
    writer.finish().await.map_err(again)?;
    match context.parts.probe.probe(&*context.parts.artifacts, key).await {
        Ok(media) => {
            let mut sha256 = [0; 32];
            sha256.copy_from_slice(sum.finish().as_ref());
            Ok((bytes, Digest(sha256), media))
        }
        Err(error) => {
            if let Err(error) = context.parts.artifacts.delete(key).await {
                tracing::warn!(key = %key, %error, "an unplayable copy is left for the sweep");
            }
            Err(match error {
                ProbeError::NotPlayable(why) => CopyError::Unplayable(format!("no playable video: {why}")),
                ProbeError::Store(error) => again(error),
            })
        }
    }
}

fn again(error: ArtifactError) -> CopyError {
    CopyError::Again(error.to_string())
}
