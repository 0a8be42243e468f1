//! Cases: rows of outputs. The bytes are in artifact_suite.rs.

use longtake_core::apply::Input;
use longtake_core::artifact::{ArtifactKey, Digest};
use longtake_core::id::Fence;
use longtake_core::request::InputImage;
use longtake_core::store::CommandResult;

use crate::given::{Given, PROJECT, output, wanted};

pub async fn a_completed_job_shows_its_output(given: &Given) {
    let executor = given.executor().await;
    let claim = given.completed(executor, "p-1").await;
    let job = given.store.get(PROJECT, claim.work.job).await.unwrap().unwrap();
    assert_eq!((job.record, job.output), (claim.record.clone(), Some(output(&claim))));
    let last = given.store.events_after(claim.work.job, claim.record.ver - 1, 1).await.unwrap().remove(0);
    assert_eq!(last.snapshot.output, Some((1_234, Digest([9; 32]))));
    assert_eq!(last.snapshot.progress, 100);
}

pub async fn storing_again_replaces_the_row(given: &Given) {
    let executor = given.executor().await;
    let mut claim = given.running(executor, "p-1").await;
    given.step(executor, &mut claim, Input::ProviderDone).await;
    let (video, mut preview) = (output(&claim), output(&claim));
    preview.n = 1;
    preview.key = ArtifactKey::output(PROJECT, claim.work.job, preview.attempt, 1, Fence(77));
    given.step(executor, &mut claim, Input::Stored(vec![video.clone(), preview.clone()])).await;
    let job = given.store.get(PROJECT, claim.work.job).await.unwrap().unwrap();
    assert_eq!(job.output, Some(video.clone()), "number 0 is the video");
    assert_eq!(given.store.referenced(vec![video.key, preview.key]).await.unwrap(), [true, true]);
}

pub async fn referenced_knows_outputs_inputs_and_what_derives_from_them(given: &Given) {
    let sha256 = Digest([5; 32]);
    let input = ArtifactKey::input(PROJECT, &sha256);
    let mut new = given.new_job();
    new.request.input = Some(InputImage { key: input.clone(), media_type: "image/png".into(), bytes: 5, sha256 });
    given.create(new).await;
    let executor = given.executor().await;
    given.store.acquire(executor, &wanted(10)).await.unwrap();
    let claim = given.completed(executor, "p-1").await;
    let video = output(&claim).key;
    let asked = vec![
        video.clone(),
        ArtifactKey::derived(&video, "thumbnail.webp"),
        input,
        ArtifactKey::output(PROJECT, claim.work.job, output(&claim).attempt, 0, Fence(99)),
        ArtifactKey::input(PROJECT, &Digest([6; 32])),
    ];
    assert_eq!(given.store.referenced(asked).await.unwrap(), [true, true, true, false, false]);
}

pub async fn hiding_gives_back_the_keys(given: &Given) {
    let executor = given.executor().await;
    let claim = given.completed(executor, "p-1").await;
    let video = output(&claim).key;
    let (answer, keys) = given.store.hide(PROJECT, claim.work.job).await.unwrap();
    assert!(matches!(answer, CommandResult::Done(job) if job.output.is_none()));
    assert_eq!(keys, vec![video.clone()]);
    assert_eq!(given.store.referenced(vec![video]).await.unwrap(), [false]);
}
