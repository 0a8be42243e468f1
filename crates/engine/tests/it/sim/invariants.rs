//! The invariants, read from the rows, the provider's books and the bucket (numbers: docs/durability.md, section 9).
//!
//! The rows' own audit is I1, I2, I5, I6, I8, I10 and I11; here it is set against what the provider billed and the
//! bucket holds. I7 and I9 belong to feeds and webhooks, which are tested where they live.

use std::collections::{BTreeMap, BTreeSet};

use aws_lc_rs::digest;
use longtake_core::attempt::{Attempt, AttemptState};
use longtake_core::event::EventKind;
use longtake_core::id::{AccountId, JobId};
use longtake_core::limits::{Limits, Pace};
use longtake_core::provider::ChargedOn;
use longtake_core::state::StateName;
use longtake_core::store::{Store, WorkKind};
use longtake_core::time::Clock;

use super::clients::{Acknowledged, only_a_person_knows};
use super::options::Class;
use super::vendor::{Bill, content};
use super::world::World;

/// What must hold at every moment.
pub fn always(world: &World) {
    if let Err(broken) = world.database.rows.audit() {
        world.trace.violation(broken);
    }
    bills(world);
    room(world);
    pace(world);
}

/// No account is asked for more than its pace allows, in any stretch of time.
fn pace(world: &World) {
    let Some(per_minute) = world.options.per_minute else { return };
    let limits = Limits { per_minute: Some(per_minute), max_in_flight: None };
    let Some(pace) = Pace::of(&limits) else { return };
    let interval = pace.interval().as_micros();
    let mut submitted: BTreeMap<AccountId, Vec<i64>> = BTreeMap::new();
    for event in world.database.rows.events().iter().filter(|event| event.kind == EventKind::Submitted) {
        if let Some((_, account)) = event.snapshot.attempt {
            submitted.entry(account).or_default().push(event.at.as_micros());
        }
    }
    for (account, mut times) in submitted {
        times.sort_unstable();
        // At these paces no permits are saved up, so each comes an interval after the one before it.
        if times.windows(2).any(|pair| ((pair[1] - pair[0]).unsigned_abs() as u128) < interval) {
            world.trace.violation(format!("account {account} was asked for more than {per_minute} per minute"));
        }
    }
}

/// No account runs more than it may; what the watch limit gave up is no longer ours to count.
fn room(world: &World) {
    let Some(limit) = world.options.max_in_flight else { return };
    let cared_for: BTreeSet<JobId> = world.database.rows.work().iter().map(|(work, _)| work.job).collect();
    let orphans: BTreeSet<_> = world.database.rows.orphans().into_iter().map(|orphan| orphan.provider_job).collect();
    let now = world.clock.now();
    for account in &world.accounts {
        let bills = world.vendor.bills();
        let ours = |bill: &&Bill| cared_for.contains(&bill.job) && !orphans.contains(&bill.provider_job);
        let running = bills.iter().filter(|bill| bill.account == *account && bill.is_running(now)).filter(ours).count();
        if running > limit as usize {
            world
                .trace
                .violation(format!("account {account} runs {running} jobs at the provider, its limit is {limit}"));
        }
    }
}

/// What must hold once everything has come to rest.
pub async fn at_rest(world: &World, acknowledged: &Acknowledged) {
    always(world);
    let records = world.database.rows.records();
    let known: BTreeSet<JobId> = records.iter().map(|record| record.job).collect();
    for (number, job) in acknowledged.jobs() {
        if !known.contains(&job) {
            world.trace.violation(format!("I1: {job} of client {number} was acknowledged and is lost"));
        }
    }
    if known.len() > world.options.jobs {
        world.trace.violation(format!("I10: {} jobs for {} clients", known.len(), world.options.jobs));
    }
    for record in &records {
        if !record.state.is_terminal() {
            let name = record.state.name();
            world.trace.violation(format!("I12: {} is still {} at rest", record.job, name.word()));
        }
    }
    for (work, row) in world.database.rows.work() {
        world.trace.violation(format!("I12: {work:?} is left at rest: {row:?}"));
    }
    paid(world).await;
    stored(world);
}

type Attempts = BTreeMap<(JobId, u16), Attempt>;

fn attempts(world: &World) -> Attempts {
    world.database.rows.attempts().into_iter().map(|(job, attempt)| ((job, attempt.n.0), attempt)).collect()
}

/// I3: what is billed maps to a committed attempt, by a reference of its own, and to each at most once.
fn bills(world: &World) {
    let attempts = attempts(world);
    let mut references = BTreeMap::new();
    for ((job, n), attempt) in &attempts {
        if let Some(other) = references.insert((attempt.account, attempt.client_ref.as_str()), (*job, *n)) {
            world.trace.violation(format!("I3: {job} n={n} has the reference of {} n={}", other.0, other.1));
        }
    }
    let mut billed: BTreeMap<(JobId, u16), &Bill> = BTreeMap::new();
    let books = world.vendor.bills();
    for bill in &books {
        match attempts.get(&(bill.job, bill.attempt)) {
            None => world.trace.violation(format!("I3: {} was billed for no attempt", bill.provider_job)),
            Some(attempt) if attempt.client_ref.as_str() != &*bill.client_ref => {
                world.trace.violation(format!("I3: {} was billed under another reference", bill.provider_job));
            }
            Some(_) => {}
        }
        if let Some(first) = billed.insert((bill.job, bill.attempt), bill) {
            world.trace.violation(format!(
                "I3: {} n={} was billed twice: {} and {}",
                bill.job, bill.attempt, first.provider_job, bill.provider_job
            ));
        }
    }
}

/// The last attempts of lives that a client's retry ended: that the next one may be paid again is the client's word.
fn retried(world: &World) -> BTreeSet<(JobId, u16)> {
    let mut retried = BTreeSet::new();
    let mut ended: BTreeMap<JobId, u16> = BTreeMap::new();
    for event in world.database.rows.events() {
        match event.kind {
            kind if kind.is_terminal() => {
                ended.insert(event.job, event.snapshot.attempt.map_or(0, |(n, _)| n.0));
            }
            EventKind::Queued => {
                if let Some(n) = ended.remove(&event.job) {
                    retried.insert((event.job, n));
                }
            }
            _ => {}
        }
    }
    retried
}

/// I4, and nothing is bought twice: another attempt only after one that is provably unpaid, or at somebody's word.
async fn paid(world: &World) {
    let (attempts, retried) = (attempts(world), retried(world));
    for bill in world.vendor.bills() {
        let key = (bill.job, bill.attempt);
        let Some(attempt) = attempts.get(&key) else { continue };
        let provider_job = bill.provider_job.clone();
        let recorded = world.database.rows.claimed(bill.account, vec![provider_job.clone()]).await;
        let recorded = recorded.is_ok_and(|claimed| claimed == [true]);
        let given_up = matches!(attempt.state, AttemptState::Waived | AttemptState::Unknown | AttemptState::Intent);
        // Where only a person can tell, what was given up may stay unknown; what was testified may not.
        let excused = given_up
            && (only_a_person_knows(world.options.class) || equal_ones(world, &bill).await)
            && !world.database.was_testified(&provider_job);
        if !recorded && !excused {
            world.trace.violation(format!(
                "I4: {provider_job} is paid and forgotten; its attempt {} n={} is {}",
                bill.job,
                bill.attempt,
                attempt.state.word()
            ));
        }
        let followed = attempts.contains_key(&(bill.job, bill.attempt + 1));
        let unpaid = attempt.state == AttemptState::FailedAtProvider && !world.vendor.is_paid(&bill);
        let at_a_word = attempt.decision.is_some() || retried.contains(&key);
        if followed && !unpaid && !at_a_word {
            world.trace.violation(format!(
                "bought twice: {} n={} was billed as {provider_job}, is {}, and yet another attempt was made",
                bill.job,
                bill.attempt,
                attempt.state.word()
            ));
        }
        if attempt.state == AttemptState::NotAccepted && !recorded {
            world.trace.violation(format!("{provider_job} is billed, and its attempt counts as not accepted"));
        }
    }
    let books = world.vendor.bills();
    for ((job, n), attempt) in &attempts {
        let bill = books.iter().find(|bill| Some(&bill.provider_job) == attempt.provider_job.as_ref());
        if let Some(bill) = bill.filter(|bill| bill.job != *job) {
            let of = bill.job;
            world.trace.violation(format!("{job} n={n} has {}, which was bought for {of}", bill.provider_job));
        }
        let at_a_word = attempt.decision.is_some() || retried.contains(&(*job, *n));
        let followed_by_itself = attempts.contains_key(&(*job, n + 1)) && !at_a_word;
        let failed = attempt.state == AttemptState::FailedAtProvider;
        if followed_by_itself && failed && world.options.charged_on == ChargedOn::Submit {
            world.trace.violation(format!("{job} n={n} was paid on submission, failed, and was bought again unasked"));
        }
    }
}

/// A list shows several purchases of one job that nobody accounts for: which is which, nobody can tell.
async fn equal_ones(world: &World, bill: &Bill) -> bool {
    if world.options.class != Class::Listing {
        return false;
    }
    let mut unaccounted = 0;
    for other in world.vendor.bills().into_iter().filter(|other| other.job == bill.job) {
        let claimed = world.database.rows.claimed(other.account, vec![other.provider_job]).await;
        unaccounted += usize::from(claimed.is_ok_and(|claimed| claimed == [false]));
    }
    unaccounted >= 2
}

/// I8: what counts as stored is there, whole, and is the video of that very provider job.
fn stored(world: &World) {
    let attempts = attempts(world);
    for (job, artifact) in world.database.rows.artifacts() {
        let Some(bytes) = world.bucket.object(&artifact.key) else {
            world.trace.violation(format!("I8: {job}: no object under {}", artifact.key));
            continue;
        };
        let sum = digest::digest(&digest::SHA256, &bytes);
        if bytes.len() as u64 != artifact.bytes || sum.as_ref() != artifact.sha256.0 {
            world.trace.violation(format!("I8: {job}: the object under {} is another", artifact.key));
        }
        let made = attempts.get(&(job, artifact.attempt.0)).and_then(|attempt| attempt.provider_job.as_ref());
        if made.is_none_or(|made| content(made).as_bytes() != &bytes[..]) {
            world.trace.violation(format!("I8: {job}: the object under {} is not its provider job's", artifact.key));
        }
    }
    for record in world.database.rows.records() {
        let done = record.attempt.as_ref().is_some_and(|attempt| attempt.state == AttemptState::Done);
        if record.state.name() == StateName::Completed && !done {
            world.trace.violation(format!("I8: {} is completed without a stored result", record.job));
        }
    }
}

/// I12: how far it is from rest, in words; `None` at rest.
pub fn unrest(world: &World) -> Option<String> {
    let live = world.database.rows.records().iter().filter(|record| !record.state.is_terminal()).count();
    let watched = world.database.rows.work().iter().filter(|(work, _)| work.kind == WorkKind::Watch).count();
    (live + watched > 0).then(|| format!("{live} jobs live, {watched} late attempts watched"))
}
