//! Retention over virtual months: what is over goes, by policy and piece by piece; what is not over stays.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use longtake_core::artifact::{ArtifactKey, ArtifactStore, Digest};
use longtake_core::event::EventKind;
use longtake_core::id::{JobId, ProjectId};
use longtake_core::request::{InputImage, VideoRequest};
use longtake_core::retention::{Keep, Retention};
use longtake_core::state::StateName;
use longtake_core::store::{CreateResult, NewJob, Resolution, Store};
use longtake_core::time::Clock;
use longtake_engine::EngineConfig;

use crate::runs::with_rules;
use crate::sim::SimRandom;
use crate::sim::artifacts::BucketHandle;
use crate::sim::clients;
use crate::sim::clock::{Gate, pause, secs};
use crate::sim::faults::{Fault, FaultSet};
use crate::sim::options::{Class, Options};
use crate::sim::provider::Fate;
use crate::sim::store::Trap;
use crate::sim::vendor::Plan;
use crate::sim::world::World;
use crate::stage::{Stage, told};

const HOUR: Duration = secs(3_600);
const DAY: Duration = secs(24 * 3_600);

const fn days(count: u32) -> Duration {
    DAY.saturating_mul(count)
}

/// Few looks, so that months are short, and no sweep: what goes went by retention.
fn quiet(config: &mut EngineConfig) {
    config.look_interval = HOUR;
    config.beat = secs(6 * 3_600);
    config.margin = secs(6 * 3_600);
    config.ttl = days(2);
    config.held_lookup_interval = DAY;
    config.sweep_interval = days(36_500);
    config.expire_interval = secs(6 * 3_600);
}

/// The first project keeps for days, the second for ever.
fn policy(config: &mut EngineConfig) {
    quiet(config);
    let default = Keep { jobs: Some(days(30)), events: Some(days(14)), artifacts: Some(days(7)) };
    config.retention = Retention { default, projects: BTreeMap::from([(ProjectId(2), Keep::default())]) };
}

fn options(tune: fn(&mut EngineConfig)) -> Options {
    Options { jobs: 200, poll_ceiling: secs(6 * 3_600), tune, ..Options::scripted(Class::Nothing) }
}

fn known(world: &World) -> BTreeSet<JobId> {
    world.database.rows.records().into_iter().map(|record| record.job).collect()
}

/// How many objects there are of a job.
fn objects(world: &World, job: JobId) -> usize {
    world.bucket.keys().iter().filter(|key| key.as_str().contains(&job.to_string())).count()
}

fn assert_sound(world: &World) {
    assert_eq!(world.trace.violations(), Vec::<String>::new());
    assert_eq!(world.database.rows.audit(), Ok(()));
}

/// Of all processes: removed jobs, removed objects, errors.
fn counted(world: &World) -> (u64, u64, u64) {
    let metrics = (0..world.options.engines).filter_map(|place| world.metrics(place));
    metrics.fold((0, 0, 0), |(jobs, artifacts, errors), metrics| {
        (
            jobs + metrics.retention_jobs.load(Ordering::Relaxed),
            artifacts + metrics.retention_artifacts.load(Ordering::Relaxed),
            errors + metrics.retention_errors.load(Ordering::Relaxed),
        )
    })
}

/// What each week brought: a job of the first project, a job of the second.
type Week = (JobId, JobId);

/// How long that goes on, and from which week on a job of the first project is held.
const WEEKS: usize = 26;
const HELD_FROM: usize = 17;

/// Half a year of two jobs a week.
async fn half_a_year(stage: &Stage) -> (JobId, JobId, Vec<Week>) {
    let world = &stage.world;
    world.vendor.plan(Plan { render: Some(days(3_000)), ..Plan::default() });
    let running = stage.create(0, 0, None).await;
    stage.until_state(running, StateName::Running).await;
    world.vendor.plan(Plan { render: Some(secs(60)), ..Plan::default() });
    let (mut weeks, mut held) = (Vec::new(), None);
    for week in 0..WEEKS {
        if week == HELD_FROM {
            world.vendor.script(&[Fate::Dropped]);
            let job = stage.create(1_000, 0, None).await;
            pause(HOUR).await;
            assert_eq!(stage.state(job), StateName::Held);
            held = Some(job);
        }
        weeks.push((stage.create(2 * week + 2, 0, None).await, stage.create(2 * week + 3, 0, None).await));
        pause(days(7)).await;
    }
    (running, held.expect("it is made"), weeks)
}

#[test]
fn half_a_year_with_a_policy_of_days() {
    with_rules(async {
        let stage = Stage::begin(Options { projects: 2, ..options(policy) }).await;
        let world = stage.world.clone();
        let (running, held, weeks) = half_a_year(&stage).await;
        let there = known(&world);
        for (week, (ours, theirs)) in weeks.iter().enumerate() {
            assert!(there.contains(theirs) && objects(&world, *theirs) == 1, "week {week}: kept for ever");
            assert_eq!(told(&world, *theirs).last(), Some(&EventKind::Completed), "week {week}");
            let age = WEEKS - week;
            // What ended after the held job's submission may be what the provider made of it: it is known for longer.
            assert_eq!(there.contains(ours), week >= HELD_FROM || age <= 4, "week {week}");
            assert_eq!(objects(&world, *ours), usize::from(age <= 1 && is_young(&stage, *ours)), "week {week}");
            assert_eq!(told(&world, *ours).is_empty(), age >= 3, "week {week}: {:?}", told(&world, *ours));
        }
        assert_eq!(told(&world, running), [EventKind::Queued, EventKind::Submitted, EventKind::InProgress]);
        assert_eq!(stage.state(running), StateName::Running);
        assert_eq!(stage.state(held), StateName::Held);
        assert_eq!(told(&world, held).last(), Some(&EventKind::Held));
        let gone = weeks.iter().filter(|(ours, _)| !there.contains(ours)).count() as u64;
        let (jobs, artifacts, errors) = counted(&world);
        assert_eq!((jobs, errors), (gone, 0));
        assert!(gone >= 16 && artifacts >= gone, "{gone} jobs and {artifacts} objects are gone");

        // Once the doubt is resolved they go too, and so does the job that was in doubt.
        let bills = world.vendor.bills();
        let bill = bills.iter().find(|bill| bill.job == held).expect("it was accepted");
        let adopted = Resolution::Adopt(bill.provider_job.clone());
        let front = world.front_door();
        front.resolve_held(world.project, held, adopted, "person".into()).await.expect("the store works");
        pause(HOUR).await;
        assert_eq!(stage.state(held), StateName::Completed);
        pause(days(35)).await;
        let left: BTreeSet<JobId> = weeks.iter().map(|(_, theirs)| *theirs).chain([running]).collect();
        assert_eq!(known(&world), left);
        assert_sound(&world);
        world.end();
    });
}

/// Whether a finished job's bytes are certainly within their seven days.
fn is_young(stage: &Stage, job: JobId) -> bool {
    let now = stage.world.clock.now();
    stage.record(job).finished_at.is_some_and(|at| now.since(at) < days(7))
}

/// A job of the first project with this input image.
async fn create_with_image(world: &World, number: usize, image: &InputImage) -> JobId {
    let request = VideoRequest { input: Some(image.clone()), ..clients::request(number) };
    let job = JobId::new(world.clock.now(), &SimRandom::new(number as u64));
    let pool = world.pools[0];
    let new = NewJob { job, project: world.project, request, pool, deadline: None, idempotency: None };
    let created = world.creates(0).expect("a process runs").submit(new).await.expect("the store works");
    assert!(matches!(created, CreateResult::Created(_)), "{created:?}");
    job
}

/// An image as a create leaves it, before its job is there.
async fn put_image(world: &World) -> InputImage {
    let key = ArtifactKey::input(world.project, &Digest([9; 32]));
    let bucket = BucketHandle { bucket: world.bucket.clone(), gate: Gate::open() };
    let mut writer = bucket.writer(&key).await.expect("the bucket works");
    writer.write(Bytes::from_static(b"image")).await.expect("the bucket works");
    writer.finish().await.expect("the bucket works");
    InputImage { key, media_type: "image/png".into(), bytes: 5, sha256: Digest([9; 32]) }
}

/// A create that found it there may name it in a moment; the sweep takes nothing that was written lately.
#[test]
fn an_image_is_left_to_the_sweep() {
    with_rules(async {
        let stage = Stage::begin(options(policy)).await;
        let world = stage.world.clone();
        let image = put_image(&world).await;
        create_with_image(&world, 1, &image).await;
        pause(days(35)).await;
        assert_eq!(known(&world), BTreeSet::new());
        assert_eq!(world.bucket.keys(), [image.key]);
        world.end();
    });
}

#[test]
fn an_image_goes_with_the_last_job_that_names_it() {
    with_rules(async {
        let stage = Stage::begin(options(policy_and_sweeps)).await;
        let world = stage.world.clone();
        let image = put_image(&world).await;
        let first = create_with_image(&world, 1, &image).await;
        pause(days(20)).await;
        let second = create_with_image(&world, 2, &image).await;
        pause(days(15)).await;
        assert_eq!(known(&world), BTreeSet::from([second]), "{first} is gone");
        assert!(world.bucket.object(&image.key).is_some(), "the other job may still be retried with it");
        pause(days(20)).await;
        assert_eq!(known(&world), BTreeSet::new());
        assert_eq!(world.bucket.keys(), Vec::<ArtifactKey>::new());
        assert_sound(&world);
        world.end();
    });
}

/// A policy of days, with sweeps.
fn policy_and_sweeps(config: &mut EngineConfig) {
    policy(config);
    config.sweep_interval = DAY;
}

#[test]
fn a_store_that_fails_delays_and_a_bucket_that_fails_leaves_it_to_the_sweep() {
    with_rules(async {
        let faults = FaultSet::NONE.with(Fault::ArtifactErrors);
        let stage = Stage::begin(Options { engines: 2, faults, ..options(policy_and_sweeps) }).await;
        let world = stage.world.clone();
        for number in 0..40 {
            stage.create(number, 0, None).await;
        }
        pause(days(6)).await;
        assert_eq!(known(&world).len(), 40);
        world.database.set_out(true);
        pause(days(3)).await;
        let (_, objects, errors) = counted(&world);
        assert!(objects == 0 && errors > 0, "{objects} objects gone, {errors} errors");
        assert_eq!(world.bucket.keys().len(), 40);
        // The rows go, and nobody hears of it: whose objects they were, only the sweep finds out.
        world.database.set_trap("expire", Trap::UnknownApplied);
        world.database.set_out(false);
        pause(days(3)).await;
        assert!(!world.database.has_trap());
        assert_eq!(known(&world).len(), 40, "the jobs themselves are kept longer");
        assert_eq!(world.bucket.keys(), Vec::<ArtifactKey>::new());
        pause(days(30)).await;
        assert_eq!(known(&world), BTreeSet::new());
        assert_eq!(counted(&world).0, 40, "each once, by whichever process");
        assert_sound(&world);
        world.end();
    });
}

#[test]
fn without_a_policy_the_store_is_not_asked() {
    with_rules(async {
        let stage = Stage::begin(options(quiet)).await;
        let world = stage.world.clone();
        world.database.set_trap("expire", Trap::UnknownLost);
        let job = stage.create(0, 0, None).await;
        pause(days(50)).await;
        assert!(world.database.has_trap(), "nobody asked");
        assert_eq!((known(&world), objects(&world, job)), (BTreeSet::from([job]), 1));
        world.end();
    });
}
