//! The two JSON columns: the request of a job and the snapshot of an event. Old rows must stay readable, so fields are
//! only added, each with a default. Metadata has a column of its own, to be filtered by.

use std::collections::BTreeMap;

use longtake_core::artifact::{ArtifactKey, Digest};
use longtake_core::event::Snapshot;
use longtake_core::id::{AccountId, AttemptNo, ProviderJobId};
use longtake_core::record::{Cancel, CancelOutcome, ProgressSource};
use longtake_core::request::{InputImage, Size, Source, SourceKind, VideoRequest};
use longtake_core::state::StateName;
use longtake_core::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::webhooks::WebhookRow;
use super::{Result, failure, unreadable};

#[derive(Serialize, Deserialize)]
struct RequestRow {
    prompt: Box<str>,
    seconds: u32,
    width: u32,
    height: u32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    input: Option<InputRow>,
    #[serde(default)]
    priority: i16,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    provider_options: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    source: Option<SourceRow>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    max_cost_usd_micros: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    webhook: Option<WebhookRow>,
}

#[derive(Serialize, Deserialize)]
struct InputRow {
    key: Box<str>,
    media_type: Box<str>,
    bytes: u64,
    sha256: Box<str>,
}

#[derive(Serialize, Deserialize)]
struct SourceRow {
    video: Box<str>,
    kind: Box<str>,
    account: i32,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    provider_job: Option<Box<str>>,
}

impl SourceRow {
    fn of(source: &Source) -> Self {
        Self {
            video: source.video.to_string().into(),
            kind: source.kind.word().into(),
            account: source.account.0,
            provider_job: source.provider_job.as_ref().map(|job| job.as_str().into()),
        }
    }

    fn read(self) -> Result<Source> {
        let provider_job = match self.provider_job {
            None => None,
            Some(name) => Some(ProviderJobId::new(&name).ok_or_else(|| unreadable("no name of a provider's job"))?),
        };
        Ok(Source {
            video: self.video.parse().map_err(|_| unreadable("no id of a video"))?,
            kind: SourceKind::from_word(&self.kind).ok_or_else(|| unreadable("an unknown kind of source"))?,
            account: AccountId(self.account),
            provider_job,
        })
    }
}

/// The request without its model and metadata, which have columns of their own.
pub(crate) fn request_bytes(request: &VideoRequest) -> Result<Vec<u8>> {
    let input = request.input.as_ref().map(|input| InputRow {
        key: input.key.as_str().into(),
        media_type: input.media_type.clone(),
        bytes: input.bytes,
        sha256: input.sha256.to_string().into(),
    });
    let row = RequestRow {
        prompt: request.prompt.clone(),
        seconds: request.seconds,
        width: request.size.width,
        height: request.size.height,
        input,
        priority: request.priority,
        provider_options: request.provider_options.clone(),
        source: request.source.as_ref().map(SourceRow::of),
        max_cost_usd_micros: request.max_cost_usd_micros,
        webhook: request.webhook.as_ref().map(WebhookRow::of),
    };
    serde_json::to_vec(&row).map_err(unreadable)
}

/// The metadata as a JSON object; `None` if there is none.
pub(crate) fn metadata_text(metadata: &BTreeMap<String, String>) -> Result<Option<String>> {
    if metadata.is_empty() { Ok(None) } else { serde_json::to_string(metadata).map(Some).map_err(unreadable) }
}

/// The request from its three columns.
pub(crate) fn request_from(model: &str, metadata: Option<&str>, req: &[u8]) -> Result<VideoRequest> {
    let row: RequestRow = serde_json::from_slice(req).map_err(unreadable)?;
    let input = match row.input {
        None => None,
        Some(input) => Some(InputImage {
            key: ArtifactKey::from_stored(&input.key),
            media_type: input.media_type,
            bytes: input.bytes,
            sha256: digest(&input.sha256)?,
        }),
    };
    Ok(VideoRequest {
        prompt: row.prompt,
        model: model.into(),
        seconds: row.seconds,
        size: Size { width: row.width, height: row.height },
        input,
        metadata: metadata.map_or_else(|| Ok(BTreeMap::new()), serde_json::from_str).map_err(unreadable)?,
        priority: row.priority,
        provider_options: row.provider_options,
        webhook: row.webhook.map(WebhookRow::read).transpose()?,
        source: row.source.map(SourceRow::read).transpose()?,
        max_cost_usd_micros: row.max_cost_usd_micros,
    })
}

fn digest(hex: &str) -> Result<Digest> {
    Digest::from_hex(hex).ok_or_else(|| unreadable("a digest is 64 hex digits"))
}

/// Short names: there is one of these for every event.
#[derive(Serialize, Deserialize)]
struct SnapshotRow {
    state: i16,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    attempt: Option<(u16, i32)>,
    #[serde(skip_serializing_if = "is_zero", default)]
    progress: u8,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    source: Option<Box<str>>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    failure: Option<(Box<str>, Box<str>)>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    finished_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    cancel: Option<(i64, i16)>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    output: Option<(u64, Box<str>)>,
}

const fn is_zero(progress: &u8) -> bool {
    *progress == 0
}

/// A snapshot as it is stored.
pub(crate) fn snapshot_text(snapshot: &Snapshot) -> Result<String> {
    let row = SnapshotRow {
        state: snapshot.state.number(),
        attempt: snapshot.attempt.map(|(n, account)| (n.0, account.0)),
        progress: snapshot.progress,
        source: snapshot.progress_source.map(|source| source.word().into()),
        failure: snapshot.failure.as_ref().map(|failure| (failure.code.code().into(), failure.message.clone())),
        finished_at: snapshot.finished_at.map(Timestamp::as_micros),
        cancel: snapshot.cancel.map(|cancel| (cancel.requested_at.as_micros(), cancel.outcome as i16)),
        output: snapshot.output.map(|(bytes, sha256)| (bytes, sha256.to_string().into())),
    };
    serde_json::to_string(&row).map_err(unreadable)
}

/// A snapshot from what is stored.
pub(crate) fn snapshot_from(text: &str) -> Result<Snapshot> {
    let row: SnapshotRow = serde_json::from_str(text).map_err(unreadable)?;
    let cancel = match row.cancel {
        None => None,
        Some((at, outcome)) => Some(Cancel {
            requested_at: Timestamp::from_micros(at),
            outcome: CancelOutcome::from_number(outcome).ok_or_else(|| unreadable("an unknown outcome of a cancel"))?,
        }),
    };
    let progress_source = match row.source.as_deref() {
        None => None,
        Some("provider") => Some(ProgressSource::Provider),
        Some("estimate") => Some(ProgressSource::Estimate),
        Some(_) => return Err(unreadable("an unknown source of progress")),
    };
    Ok(Snapshot {
        state: StateName::from_number(row.state).ok_or_else(|| unreadable("an unknown state"))?,
        attempt: row.attempt.map(|(n, account)| (AttemptNo(n), AccountId(account))),
        progress: row.progress,
        progress_source,
        failure: row.failure.map(|(code, message)| failure(&code, &message)).transpose()?,
        finished_at: row.finished_at.map(Timestamp::from_micros),
        cancel,
        output: row.output.map(|(bytes, hex)| digest(&hex).map(|sha256| (bytes, sha256))).transpose()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_older_versions_are_read() {
        let old = br#"{"prompt":"a boat","seconds":4,"width":1280,"height":720}"#;
        let request = request_from("sora", None, old).unwrap();
        assert_eq!((&*request.prompt, request.seconds, request.priority), ("a boat", 4, 0));
        assert_eq!((request.source, request.max_cost_usd_micros), (None, None));
    }

    #[test]
    fn a_source_and_a_limit_come_back_as_they_were() {
        let mut request = request_from("sora", None, br#"{"prompt":"x","seconds":4,"width":2,"height":2}"#).unwrap();
        for provider_job in [None, ProviderJobId::new("video_of_theirs")] {
            let (video, kind) = ("video_000102030405060708090a0b0c0d0e0f".parse().unwrap(), SourceKind::Remix);
            request.source = Some(Source { video, kind, account: AccountId(7), provider_job });
            request.max_cost_usd_micros = Some(u64::MAX);
            let bytes = request_bytes(&request).unwrap();
            assert_eq!(request_from("sora", None, &bytes).unwrap(), request);
        }
    }

    #[test]
    fn a_source_of_a_newer_version_is_not_guessed_at() {
        let row = br#"{"prompt":"x","seconds":4,"width":2,"height":2,
            "source":{"video":"video_000102030405060708090a0b0c0d0e0f","kind":"reversal","account":7}}"#;
        assert!(request_from("sora", None, row).is_err());
    }
}
