//! Several processes on one store: limits, pace, fairness and load hold over all of them.

use std::collections::BTreeMap;
use std::time::Duration;

use longtake_core::event::EventKind;
use longtake_core::id::{ExecutorId, JobId};
use longtake_core::state::StateName;
use longtake_core::store::WorkKind;
use longtake_core::time::Clock;
use longtake_engine::EngineConfig;

use crate::runs::with_rules;
use crate::sim::clock::{pause, secs};
use crate::sim::options::{Class, Options};
use crate::sim::provider::Fate;
use crate::sim::vendor::Plan;
use crate::sim::world::World;
use crate::stage::{Stage, told};

/// Rows that each executor owns.
fn owned(world: &World) -> BTreeMap<ExecutorId, usize> {
    let mut owned = BTreeMap::new();
    for (work, row) in world.database.rows.work() {
        if let Some(owner) = row.owner.filter(|_| work.kind == WorkKind::Drive) {
            *owned.entry(owner).or_default() += 1;
        }
    }
    owned
}

/// How often the running jobs have changed hands.
fn passes(world: &World) -> u64 {
    world.database.rows.work().iter().map(|(_, row)| u64::try_from(row.fence.0).unwrap_or(0)).sum()
}

/// As many at once as real processes take.
fn in_large_batches(config: &mut EngineConfig) {
    config.acquire_batch = EngineConfig::default().acquire_batch;
    config.look_interval = EngineConfig::default().look_interval;
}

/// All jobs run, on all processes, and every process knows what would be fair.
async fn loaded(jobs: usize, engines: usize) -> Stage {
    let options = Options { jobs, engines, tune: in_large_batches, ..Options::scripted(Class::ByRef) };
    let stage = Stage::begin(Options { poll_ceiling: secs(10), ..options }).await;
    stage.world.vendor.plan(Plan { render: Some(secs(300)), ..Plan::default() });
    for number in 0..jobs {
        stage.create_at(number % engines, number, 0, None).await;
    }
    stage.until("all of them to run", || running(&stage.world) == jobs).await;
    pause(secs(30)).await;
    stage
}

fn running(world: &World) -> usize {
    let now = world.clock.now();
    world.vendor.bills().iter().filter(|bill| bill.is_running(now)).count()
}

/// The order in which the provider took jobs.
fn order(world: &World) -> Vec<JobId> {
    world.vendor.bills().iter().map(|bill| bill.job).collect()
}

#[test]
fn three_processes_keep_one_limit_and_use_it() {
    with_rules(async {
        let options = Options { jobs: 40, engines: 3, max_in_flight: Some(4), ..Options::scripted(Class::ByRef) };
        let stage = Stage::begin(options).await;
        let world = stage.world.clone();
        world.vendor.plan(Plan { render: Some(secs(300)), ..Plan::default() });
        let mut jobs = Vec::new();
        for number in 0..40 {
            jobs.push(stage.create_at(number % 3, number, 0, None).await);
        }
        stage.until("the slots to fill", || running(&world) == 4).await;
        let (mut used, mut looks) = (0, 0);
        while jobs.iter().filter(|job| stage.state(**job) == StateName::Queued).count() > 4 {
            let now = running(&world);
            assert!(now <= 4, "{now} run at once");
            (used, looks) = (used + now, looks + 4);
            pause(secs(1)).await;
        }
        assert!(used * 100 >= looks * 95, "{used} of {looks} slot seconds were used under a backlog");
        stage.end().await;
    });
}

#[test]
fn a_backlog_goes_out_as_fast_as_submissions_end_whatever_other_accounts_there_are() {
    with_rules(async {
        let tune = |config: &mut EngineConfig| {
            config.max_inflight_sends = 4;
            config.look_interval = secs(30);
        };
        // Nothing waits for the second account, which is asked all the same while enough waits here of the first.
        let options = Options { jobs: 60, accounts: 2, tune, ..Options::scripted(Class::ByRef) };
        let stage = Stage::begin(options).await;
        let world = stage.world.clone();
        world.vendor.plan(Plan { render: Some(secs(3_000)), ..Plan::default() });
        for number in 0..60 {
            stage.create(number, 0, None).await;
        }
        let begun = world.clock.now();
        stage.until("all of them to run", || running(&world) == 60).await;
        let took = world.clock.now().since(begun);
        assert!(took < secs(30), "{took:?}: it waited for looks, not for submissions");
        stage.end().await;
    });
}

#[test]
fn a_new_process_gets_its_share_at_the_next_polls() {
    with_rules(async {
        let options = Options { jobs: 120, engines: 2, ..Options::scripted(Class::ByRef) };
        let stage = Stage::begin(options).await;
        let world = stage.world.clone();
        world.crash(1);
        world.vendor.plan(Plan { render: Some(secs(3_000)), ..Plan::default() });
        for number in 0..120 {
            stage.create(number, 0, None).await;
        }
        stage.until("all of them to run", || running(&world) == 120).await;
        assert_eq!(owned(&world).len(), 1);
        world.start(1).await;
        stage
            .until("the load to spread", || {
                let owned = owned(&world);
                owned.len() == 2 && owned.values().all(|rows| *rows <= 60 + 5 + 16)
            })
            .await;
        stage.end().await;
    });
}

#[test]
fn what_one_of_two_processes_hands_back_stays_with_the_other_who_takes_it() {
    with_rules(async {
        let stage = loaded(80, 2).await;
        let world = stage.world.clone();
        let shares: Vec<usize> = owned(&world).into_values().collect();
        assert_eq!((shares.len(), shares.iter().sum()), (2, 80), "{shares:?}");
        let before = passes(&world);
        world.drain(0).await;
        // While the one who left still counts as alive, no share counts what it handed back.
        pause(world.config.ttl - secs(5)).await;
        assert_eq!(owned(&world).into_values().collect::<Vec<usize>>(), [80]);
        assert_eq!(passes(&world) - before, shares[0] as u64, "each was to change hands once");
        stage.end().await;
    });
}

#[test]
fn jobs_change_hands_no_more_often_than_they_are_polled() {
    with_rules(async {
        let stage = loaded(300, 3).await;
        let world = stage.world.clone();
        assert_eq!(owned(&world).len(), 3, "{:?}", owned(&world));
        let (passed, called) = (passes(&world), world.vendor.calls());
        world.drain(0).await;
        // A third of all, at once, and due: more than anyone takes for its share.
        pause(secs(20)).await;
        let (passed, called) = (passes(&world) - passed, world.vendor.calls() - called);
        assert!(passed <= called, "{passed} passes and {called} calls to the provider");
        assert_eq!(owned(&world).values().sum::<usize>(), 300, "somebody owns each");
        stage.end().await;
    });
}

#[test]
fn projects_take_turns_and_priority_goes_first_whoever_took_the_job_in() {
    with_rules(async {
        let options =
            Options { jobs: 9, engines: 2, projects: 2, max_in_flight: Some(1), ..Options::scripted(Class::ByRef) };
        let stage = Stage::begin(options).await;
        let world = stage.world.clone();
        world.vendor.plan(Plan { render: Some(secs(60)), ..Plan::default() });
        let first = stage.create(0, 0, None).await;
        stage.until_state(first, StateName::Running).await;
        let mut jobs = Vec::new();
        // Even numbers are one project's, odd ones the other's, which comes last.
        for (number, priority) in [(2, 0), (4, 0), (6, 0), (8, 0), (1, 0), (3, 0), (10, 5)] {
            jobs.push(stage.create_at(number % 2, number, priority, None).await);
            pause(Duration::from_millis(20)).await;
        }
        stage.until("all of them", || jobs.iter().all(|job| stage.state(*job) == StateName::Completed)).await;
        let world = stage.end().await;
        let order: Vec<JobId> = order(&world).into_iter().skip(1).collect();
        assert_eq!(order, [jobs[6], jobs[4], jobs[0], jobs[5], jobs[1], jobs[2], jobs[3]]);
    });
}

#[test]
fn a_pace_holds_over_all_processes_and_through_a_crash() {
    with_rules(async {
        let options = Options { jobs: 12, engines: 3, per_minute: Some(6), ..Options::scripted(Class::ByRef) };
        let stage = Stage::begin(options).await;
        let world = stage.world.clone();
        let begun = world.clock.now();
        let mut jobs = Vec::new();
        for number in 0..12 {
            jobs.push(stage.create_at(number % 3, number, 0, None).await);
        }
        pause(secs(35)).await;
        world.crash(0);
        stage.until("all of them", || jobs.iter().all(|job| stage.state(*job) == StateName::Completed)).await;
        let bills = world.vendor.bills();
        assert_eq!(bills.len(), 12);
        let took = world.clock.now().since(begun);
        assert!(took >= secs(110), "twelve submissions at six a minute took {took:?}");
        world.start(0).await;
        stage.end().await;
    });
}

#[test]
fn a_stopped_process_does_no_harm_and_takes_no_slot_with_it() {
    with_rules(async {
        let options = Options { jobs: 8, engines: 2, max_in_flight: Some(2), ..Options::scripted(Class::ByRef) };
        let stage = Stage::begin(options).await;
        let world = stage.world.clone();
        world.vendor.plan(Plan { render: Some(secs(200)), ..Plan::default() });
        let mut jobs = Vec::new();
        for number in 0..8 {
            jobs.push(stage.create(number, 0, None).await);
        }
        stage.until("two to run", || running(&world) == 2).await;
        let (gate, _) = world.process(0).expect("it runs");
        gate.freeze_for(secs(90));
        stage
            .until("all of them", || {
                assert!(running(&world) <= 2, "the limit is the upstream's, whoever died");
                jobs.iter().all(|job| stage.state(*job) == StateName::Completed)
            })
            .await;
        assert_eq!(world.vendor.bills().len(), 8);
        stage.end().await;
    });
}

#[test]
fn a_process_that_hands_over_for_longer_than_its_ttl_is_not_given_up() {
    with_rules(async {
        // Nobody could find out: a job that is taken over in its submission would be verified, and held.
        let tune = |config: &mut EngineConfig| config.drain_timeout = secs(90);
        let options = Options { engines: 2, tune, ..Options::scripted(Class::Nothing) };
        let stage = Stage::begin(options).await;
        let world = stage.world.clone();
        world.crash(1);
        world.vendor.script(&[Fate::Slow(50)]);
        let job = stage.create(0, 0, None).await;
        stage.until_state(job, StateName::Submitting).await;
        world.start(1).await;
        let begun = world.clock.now();
        world.drain(0).await;
        let took = world.clock.now().since(begun);
        assert!(took > world.config.ttl + secs(10), "the answer was to come later than after {took:?}");
        assert_eq!(stage.state(job), StateName::Running, "heard and recorded by the one who sent it");
        stage.until_state(job, StateName::Completed).await;
        let world = stage.end().await;
        assert!(!told(&world, job).contains(&EventKind::Verifying), "{:?}", told(&world, job));
        assert_eq!(world.vendor.bills().len(), 1);
    });
}
