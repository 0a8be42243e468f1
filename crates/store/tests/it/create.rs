//! Cases: creates and their repetition.

use std::collections::BTreeMap;
use std::time::Duration;

use longtake_core::artifact::{ArtifactKey, Digest};
use longtake_core::event::EventKind;
use longtake_core::id::ProjectId;
use longtake_core::request::InputImage;
use longtake_core::state::JobState;
use longtake_core::store::{CreateResult, IdempotencyKey, WorkKey};

use crate::given::{Given, PROJECT};

fn key(text: &str, fingerprint: u8) -> Option<IdempotencyKey> {
    Some(IdempotencyKey { key: text.into(), fingerprint: [fingerprint; 32] })
}

pub async fn a_created_job_is_there_with_its_event_and_its_work(given: &Given) {
    let new = given.new_job();
    let created = given.store.create(vec![new.clone()]).await.unwrap().remove(0);
    let CreateResult::Created(job) = created else { panic!("{created:?}") };
    assert_eq!(given.store.get(PROJECT, new.job).await.unwrap(), Some(job.clone()));
    assert_eq!((&job.record.state, job.record.ver), (&JobState::Queued, 1));
    let events = given.store.events_after(new.job, 0, 10).await.unwrap();
    assert_eq!((events.len(), events[0].kind, events[0].at), (1, EventKind::Queued, given.now()));
    let executor = given.executor().await;
    let claim = given.acquire(executor).await;
    assert_eq!((claim.work, claim.record), (WorkKey::drive(new.job), job.record));
}

pub async fn a_repeated_key_gives_the_same_job(given: &Given) {
    let first = longtake_core::store::NewJob { idempotency: key("k", 1), ..given.new_job() };
    let again = longtake_core::store::NewJob { idempotency: key("k", 1), ..given.new_job() };
    given.create(first.clone()).await;
    let answer = given.store.create(vec![again.clone()]).await.unwrap().remove(0);
    let CreateResult::Replayed(job) = answer else { panic!("{answer:?}") };
    assert_eq!(job.record.job, first.job);
    assert_eq!(given.store.get(PROJECT, again.job).await.unwrap(), None);
    assert_eq!(given.store.find_idempotent(PROJECT, "k").await.unwrap(), Some(([1; 32], first.job)));
}

pub async fn a_repeated_job_id_gives_the_same_job(given: &Given) {
    let new = given.new_job();
    given.create(new.clone()).await;
    given.clock.advance(Duration::from_secs(5));
    let answer = given.store.create(vec![new.clone()]).await.unwrap().remove(0);
    let CreateResult::Replayed(job) = answer else { panic!("{answer:?}") };
    assert_eq!(job, given.store.get(PROJECT, new.job).await.unwrap().unwrap());
    assert_eq!(given.store.events_after(new.job, 0, 10).await.unwrap().len(), 1);
}

pub async fn a_key_used_for_other_fields_is_told(given: &Given) {
    let first = longtake_core::store::NewJob { idempotency: key("k", 1), ..given.new_job() };
    let other = longtake_core::store::NewJob { idempotency: key("k", 2), ..given.new_job() };
    given.create(first.clone()).await;
    let answer = given.store.create(vec![other.clone()]).await.unwrap().remove(0);
    assert_eq!(answer, CreateResult::KeyReused(first.job));
    assert_eq!(given.store.get(PROJECT, other.job).await.unwrap(), None);
}

pub async fn keys_of_different_projects_are_different(given: &Given) {
    let project = given.store.project("another").await.unwrap();
    assert_ne!(project, PROJECT);
    let first = longtake_core::store::NewJob { idempotency: key("k", 1), ..given.new_job() };
    let other = longtake_core::store::NewJob { idempotency: key("k", 2), project, ..given.new_job() };
    given.create(first).await;
    given.create(other).await;
    assert_eq!(given.store.find_idempotent(ProjectId(99), "k").await.unwrap(), None);
}

pub async fn a_key_repeated_within_one_call_makes_one_job(given: &Given) {
    let first = longtake_core::store::NewJob { idempotency: key("k", 1), ..given.new_job() };
    let again = longtake_core::store::NewJob { idempotency: key("k", 1), ..given.new_job() };
    let answers = given.store.create(vec![first.clone(), again]).await.unwrap();
    assert!(matches!(&answers[0], CreateResult::Created(job) if job.record.job == first.job), "{answers:?}");
    assert!(matches!(&answers[1], CreateResult::Replayed(job) if job.record.job == first.job), "{answers:?}");
}

pub async fn every_field_of_a_request_comes_back(given: &Given) {
    let mut new = given.new_job();
    let sha256 = Digest([3; 32]);
    new.request.prompt = "a \"fox\" \u{1f98a}\nin the rain".into();
    new.request.metadata = BTreeMap::from([("it's".to_owned(), "a \"value\"".to_owned())]);
    new.request.priority = -7;
    new.request.provider_options = Some(r#"{"seed":1}"#.into());
    new.request.input = Some(InputImage {
        key: ArtifactKey::input(PROJECT, &sha256),
        media_type: "image/png".into(),
        bytes: 77,
        sha256,
    });
    new.deadline = Some(Duration::from_secs(90));
    given.create(new.clone()).await;
    let job = given.store.get(PROJECT, new.job).await.unwrap().unwrap();
    assert_eq!(*job.request, new.request);
    assert_eq!(*given.store.request(new.job).await.unwrap().unwrap(), new.request);
    assert_eq!(job.record.deadline_at, Some(given.now() + Duration::from_secs(90)));
    assert_eq!((job.record.deadline, job.record.priority), (new.deadline, -7));
}
