//! The sandbox does what the prompt orders, and goes on where a process that was killed left off.

use std::sync::Arc;
use std::time::{Duration, Instant};

use longtake_core::failure::FailureCode;
use longtake_core::id::{AccountId, AttemptNo, ProviderJobId};
use longtake_core::provider::{CancelAnswer, Provider, ProviderError, ProviderState, SubmitRequest};
use longtake_core::request::{Size, VideoRequest};

use crate::support::*;

fn sandbox(folder: &Folder) -> Arc<dyn Provider> {
    provider(account("sandbox", None), folder.0.clone())
}

fn small(prompt: &str, attempt: u16) -> SubmitRequest {
    let mut request = request(prompt, 1);
    request.size = Size { width: 64, height: 36 };
    SubmitRequest { attempt: AttemptNo(attempt), ..submission("sandbox", request) }
}

async fn accepted(provider: &dyn Provider, prompt: &str) -> ProviderJobId {
    provider.submit(&call(), &small(prompt, 1)).await.unwrap()
}

async fn state(provider: &dyn Provider, job: &ProviderJobId) -> ProviderState {
    provider.poll(&call(), job).await.unwrap().state
}

fn failure(state: ProviderState) -> FailureCode {
    match state {
        ProviderState::Failed(failure) => failure.code,
        other => panic!("not failed: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_video_is_what_was_asked_for() {
    let folder = Folder::new();
    let provider = sandbox(&folder);
    let mut wanted = request("a paper boat [sandbox duration=1ms]", 2);
    wanted.size = Size { width: 320, height: 180 };
    wanted.provider_options = Some(r#"{"fps":10}"#.into());
    let submission = with_image(submission("sandbox", wanted));
    let job = provider.submit(&call(), &submission).await.unwrap();
    let status = ended(&*provider, &job).await;
    let (bytes, _) = download(&*provider, &output(&status)).await.unwrap();
    let info = format!("{:?}", longtake_media::probe(&bytes).unwrap());
    for part in ["width: 320", "height: 180"] {
        assert!(info.contains(part), "{part} in {info}");
    }
    assert_eq!(status.progress, Some(100));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_goes_on_after_a_restart() {
    let folder = Folder::new();
    let before = sandbox(&folder);
    let submission = small("a paper boat [sandbox duration=300ms]", 1);
    let job = before.submit(&call(), &submission).await.unwrap();
    let hanging = accepted(&*before, "a stuck boat [sandbox hang]").await;
    drop(before);
    // A rendering that was cut off left nothing but its beginning.
    let after = sandbox(&folder);
    let found = after.find(&call(), &find_request(&submission, now())).await.unwrap();
    assert_eq!((found.candidates, found.complete), (vec![job.clone()], true));
    let status = ended(&*after, &job).await;
    assert!(download(&*after, &output(&status)).await.is_ok());
    assert_eq!(state(&*after, &hanging).await, ProviderState::Pending);
    assert_eq!(after.cancel(&call(), &hanging).await.unwrap(), CancelAnswer::Stopped);
    let again = sandbox(&folder);
    assert_eq!(failure(state(&*again, &hanging).await), FailureCode::Canceled);
    assert_eq!(again.cancel(&call(), &hanging).await.unwrap(), CancelAnswer::Stopped);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_submission_changes_nothing() {
    let folder = Folder::new();
    let provider = sandbox(&folder);
    let submission = small("a paper boat [sandbox duration=1ms]", 1);
    let job = provider.submit(&call(), &submission).await.unwrap();
    let status = ended(&*provider, &job).await;
    assert_eq!(provider.submit(&call(), &submission).await.unwrap(), job);
    assert_eq!(provider.poll(&call(), &job).await.unwrap().state, status.state);
    let ends = || {
        let records = std::fs::read_dir(folder.0.join("sandbox")).unwrap();
        let end = |path: std::path::PathBuf| path.extension().unwrap().to_string_lossy().into_owned();
        records.map(|file| end(file.unwrap().path())).collect::<Vec<String>>()
    };
    // The rendering notes its end after its video is there.
    longtake_testing::wait_until("nothing is being written", BOUND, async || !ends().contains(&"tmp".to_owned())).await;
    let ends = ends();
    assert_eq!(ends.iter().filter(|end| *end == "json").count(), 1, "{ends:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_fails_as_ordered_and_only_as_often() {
    let folder = Folder::new();
    let provider = sandbox(&folder);
    let job = accepted(&*provider, "x [sandbox fail=provider_quota duration=1ms]").await;
    assert_eq!(failure(ended(&*provider, &job).await.state), FailureCode::ProviderQuota);
    for (attempt, fails) in [(1, true), (2, true), (3, false)] {
        let submission = small("x [sandbox fail_times=2 duration=1ms]", attempt);
        let job = provider.submit(&call(), &submission).await.unwrap();
        let ended = ended(&*provider, &job).await.state;
        assert_eq!(matches!(ended, ProviderState::Failed(_)), fails, "attempt {attempt}: {ended:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_told_duration_is_kept_and_progress_follows_the_clock() {
    let folder = Folder::new();
    let provider = sandbox(&folder);
    let began = Instant::now();
    let job = accepted(&*provider, "x [sandbox duration=1500ms]").await;
    let silent = accepted(&*provider, "x [sandbox duration=10m progress=none]").await;
    let mut last = 0;
    let mut seen = Vec::new();
    longtake_testing::wait_until("it ends", BOUND, async || {
        let status = provider.poll(&call(), &job).await.unwrap();
        let progress = status.progress.unwrap();
        assert!(progress >= last, "{progress} after {last}");
        (last, _) = (progress, seen.push(progress));
        status.state != ProviderState::Pending
    })
    .await;
    assert!(began.elapsed() >= Duration::from_millis(1_500));
    assert!(seen.iter().any(|progress| (1..=99).contains(progress)), "{seen:?}");
    let status = provider.poll(&call(), &silent).await.unwrap();
    assert_eq!((status.state, status.progress), (ProviderState::Pending, None));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_answer_comes_after_the_job_is_durable() {
    let folder = Folder::new();
    let provider = sandbox(&folder);
    let submission = small("x [sandbox hang slow_submit=10m]", 1);
    let answer = tokio::spawn({
        let (provider, submission) = (Arc::clone(&provider), submission.clone());
        async move { provider.submit(&call(), &submission).await }
    });
    let other = sandbox(&folder);
    longtake_testing::wait_until("the job is there", BOUND, async || {
        let found = other.find(&call(), &find_request(&submission, now())).await.unwrap();
        found.candidates.len() == 1
    })
    .await;
    assert!(!answer.is_finished());
    answer.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_canceled_job_stops_rendering_and_stays_canceled() {
    let folder = Folder::new();
    let provider = sandbox(&folder);
    let mut wanted = request("a long boat", 60);
    wanted.size = Size { width: 1920, height: 1080 };
    let job = provider.submit(&call(), &submission("sandbox", wanted)).await.unwrap();
    assert_eq!(provider.cancel(&call(), &job).await.unwrap(), CancelAnswer::Stopped);
    assert_eq!(failure(state(&*provider, &job).await), FailureCode::Canceled);
    // The places for renderings are free again: a short one ends although two at most run at once.
    let short = accepted(&*provider, "a short boat [sandbox duration=1ms]").await;
    assert!(matches!(ended(&*provider, &short).await.state, ProviderState::Done(_)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_picture_that_is_none_is_rejected() {
    let folder = Folder::new();
    let provider = sandbox(&folder);
    let mut submission = small("x", 1);
    submission.input = Some(longtake_core::provider::InputBytes {
        media_type: "image/png".into(),
        bytes: bytes::Bytes::from_static(b"\x89PNG\r\n\x1a\nand nothing else"),
    });
    let answer = provider.submit(&call(), &submission).await;
    assert!(matches!(answer, Err(ProviderError::Rejected(_))), "{answer:?}");
    let found = provider.find(&call(), &find_request(&submission, now())).await.unwrap();
    assert!(found.candidates.is_empty());
}

#[test]
fn what_it_cannot_do_is_refused_before_the_job_exists() {
    let folder = Folder::new();
    let provider = sandbox(&folder);
    let check = |change: &dyn Fn(&mut VideoRequest)| {
        let mut request = request("a paper boat", 4);
        change(&mut request);
        provider.check(AccountId(1), "sandbox", &request).map_err(|error| error.param.to_string())
    };
    let size = |width, height| check(&|request| request.size = Size { width, height });
    assert_eq!(size(3840, 2160), Ok(()));
    assert_eq!(size(2160, 3840), Ok(()));
    for (width, height) in [(1281, 720), (1280, 721), (3842, 2160), (3840, 2162), (3000, 3000)] {
        assert_eq!(size(width, height), Err("size".to_owned()), "{width}x{height}");
    }
    for (seconds, good) in [(0, false), (1, true), (60, true), (61, false)] {
        assert_eq!(check(&|request| request.seconds = seconds).is_ok(), good, "{seconds}");
    }
    for (options, good) in [
        (r#"{"fps":1}"#, true),
        (r#"{"fps":60}"#, true),
        (r#"{"fps":0}"#, false),
        (r#"{"fps":61}"#, false),
        (r#"{"fps":23.976}"#, false),
        (r#"{"fps":"24"}"#, false),
        (r#"{"fsp":24}"#, false),
    ] {
        assert_eq!(check(&|request| request.provider_options = Some(options.into())).is_ok(), good, "{options}");
    }
    assert_eq!(check(&|request| request.prompt = "x [sandbox wait=1s]".into()), Err("prompt".to_owned()));
    assert!(!folder.0.join("sandbox").exists());
}
