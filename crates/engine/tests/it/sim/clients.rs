//! Clients and a person: they create, repeat what was not answered, cancel, retry and decide.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use longtake_core::attempt::Verdict;
use longtake_core::id::{JobId, Random};
use longtake_core::request::{Size, VideoRequest};
use longtake_core::state::{JobState, StateName};
use longtake_core::store::{CommandResult, CreateResult, IdempotencyKey, NewJob, Resolution, Store};
use longtake_core::time::Clock;
use tokio::task::JoinSet;

use super::SimRandom;
use super::clock::{pause, secs};
use super::options::Class;
use super::world::{MODEL, World};

/// What clients were told.
#[derive(Clone, Default)]
pub struct Acknowledged(Arc<Mutex<BTreeMap<usize, JobId>>>);

impl Acknowledged {
    pub fn note(&self, number: usize, job: JobId) -> Option<JobId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(number, job)
    }

    pub fn jobs(&self) -> BTreeMap<usize, JobId> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// A request like no other.
pub fn request(number: usize) -> VideoRequest {
    VideoRequest {
        prompt: format!("film {number}").into(),
        model: MODEL.into(),
        seconds: 4,
        size: Size { width: 16, height: 16 },
        input: None,
        metadata: BTreeMap::new(),
        priority: i16::try_from(number % 3).unwrap_or(0),
        provider_options: None,
        source: None,
        max_cost_usd_micros: None,
        webhook: None,
    }
}

/// Begins as many clients as the options say.
pub fn begin(world: &Arc<World>, acknowledged: &Acknowledged, tasks: &mut JoinSet<()>) {
    for number in 0..world.options.jobs {
        tasks.spawn(client(world.clone(), number, acknowledged.clone()));
    }
}

async fn client(world: Arc<World>, number: usize, acknowledged: Acknowledged) {
    let random = SimRandom::stream(world.options.seed, 400 + number as u64);
    let latest = world.options.phase_1.as_millis() as u64 * 7 / 10;
    pause(Duration::from_millis(random.below(latest))).await;
    let new = NewJob {
        job: JobId::new(world.clock.now(), &random),
        project: world.project_of(number),
        request: request(number),
        pool: world.pools[0],
        deadline: random.chance(200).then(|| secs(random.between(20, 1_500))),
        idempotency: random.chance(500).then(|| IdempotencyKey {
            key: format!("key-{number}").into(),
            fingerprint: [u8::try_from(number).unwrap_or(0); 32],
        }),
    };
    let Some(job) = create(&world, number, &new, &random).await else { return };
    acknowledged.note(number, job);
    if new.idempotency.is_some() && random.chance(300) {
        repeat(&world, number, &new, job, &random).await;
    }
    if random.chance(250) {
        pause(Duration::from_millis(random.below(600_000))).await;
        while world.front_door().request_cancel(new.project, job).await.is_err() {
            pause(secs(3)).await;
        }
    }
    for _ in 0..random.below(3) {
        pause(secs(random.between(30, 900))).await;
        if random.chance(600) {
            while world.front_door().retry(new.project, job, "client".into(), world.pools[0]).await.is_err() {
                pause(secs(3)).await;
            }
        }
    }
}

/// Until it is acknowledged: with the same key, or the same id.
async fn create(world: &Arc<World>, number: usize, new: &NewJob, random: &SimRandom) -> Option<JobId> {
    for _ in 0..10_000 {
        if let Some(creates) = world.creates(random.below(16) as usize % world.options.engines) {
            let answer = tokio::select! {
                biased;
                answer = creates.submit(new.clone()) => Some(answer),
                () = pause(secs(30)) => None,
            };
            match answer {
                Some(Ok(CreateResult::Created(job) | CreateResult::Replayed(job))) => return Some(job.record.job),
                Some(Ok(CreateResult::KeyReused(_))) => {
                    world.trace.violation(format!("I10: the key of client {number} counts as used for other fields"));
                    return None;
                }
                Some(Err(_)) | None => {}
            }
        }
        pause(Duration::from_millis(500 + random.below(3_000))).await;
    }
    world.trace.violation(format!("I12: client {number} could not create in 10,000 tries"));
    None
}

/// The same key and fields give the same job; other fields are refused.
async fn repeat(world: &Arc<World>, number: usize, new: &NewJob, job: JobId, random: &SimRandom) {
    let again = NewJob { job: JobId::new(world.clock.now(), random), ..new.clone() };
    match create(world, number, &again, random).await {
        Some(same) if same == job => {}
        other => world.trace.violation(format!("I10: client {number} got {other:?} for the key of {job}")),
    }
    let mut other = NewJob { job: JobId::new(world.clock.now(), random), ..new.clone() };
    if let Some(key) = &mut other.idempotency {
        key.fingerprint = [255; 32];
    }
    for _ in 0..100 {
        match world.front_door().create(vec![other.clone()]).await {
            Ok(results) => {
                if results != [CreateResult::KeyReused(job)] {
                    world.trace.violation(format!("I10: key of {job} was accepted for other fields"));
                }
                return;
            }
            Err(_) => pause(secs(2)).await,
        }
    }
}

/// A person who knows the provider's books, and takes up what is held.
pub async fn person(world: Arc<World>, patience: Duration) {
    let random = SimRandom::stream(world.options.seed, 500);
    loop {
        pause(patience).await;
        for record in world.database.rows.records() {
            let JobState::Held { attempt } = record.state else { continue };
            let bills = world.vendor.bills();
            let bill = bills.iter().find(|bill| bill.job == record.job && bill.attempt == attempt.0);
            let free = match bill {
                Some(bill) => {
                    let claimed = world.database.rows.claimed(bill.account, vec![bill.provider_job.clone()]).await;
                    claimed.is_ok_and(|claimed| claimed == [false])
                }
                None => false,
            };
            let resolution = match bill {
                Some(bill) if free => Resolution::Adopt(bill.provider_job.clone()),
                // An equal submission of this job has it already.
                Some(_) => Resolution::Decide(Verdict::Fail),
                // With faults on, a request may still be on its way: who decides takes the risk.
                None if random.chance(500) => Resolution::Decide(Verdict::Resubmit),
                None => Resolution::Decide(Verdict::Fail),
            };
            let answer = world.front_door().resolve_held(record.project, record.job, resolution, "person".into()).await;
            if let Ok(CommandResult::NotFound) = answer {
                world.trace.violation(format!("a held job is not found: {}", record.job));
            }
        }
    }
}

/// Whether a late attempt of this state can only be found out by a person.
pub fn only_a_person_knows(class: Class) -> bool {
    matches!(class, Class::Nothing | Class::Key | Class::Shape | Class::Callback)
}

/// Hides what is finished, at the end of a world.
pub async fn hide_some(world: &World) {
    let random = SimRandom::stream(world.options.seed, 600);
    for record in world.database.rows.records() {
        if !random.chance(300) {
            continue;
        }
        let hidden = world.front_door().hide(record.project, record.job).await;
        let gone = world.front_door().get(record.project, record.job).await;
        let finished = matches!(record.state.name(), StateName::Completed | StateName::Failed | StateName::Canceled);
        let right = matches!((&hidden, &gone), (Ok((CommandResult::Done(_), _)), Ok(None)));
        if finished && !right {
            world.trace.violation(format!("hide of {} went wrong: {hidden:?}", record.job));
        }
    }
}
