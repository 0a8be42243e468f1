//! T23: the client's limit on cost, weighed before each intent by the real `spent`, `first_within` and `turns_of`.
//!
//! What weighs is what the store knows; what it is held to is what the provider charged. Between the look and the intent
//! anything may happen. Absent: prices that change while a job lives, and what a provider that lied (it refused, and took
//! it all the same) makes a job cost: nobody can count that.

use std::collections::BTreeMap;

use longtake_core::apply::Input;
use longtake_core::attempt::AttemptState;
use longtake_core::cost::{Made, OverLimit, first_within, spent};
use longtake_core::id::{AccountId, PoolId};
use longtake_core::limits::Limits;
use longtake_core::provider::ChargedOn;
use longtake_core::record::Record;
use longtake_core::route::{Route, turns_of};
use longtake_core::state::StateName;
use longtake_core::store::Store as _;

use super::machine::{Machine, NOTHING, Ways, commit, submit_to};
use super::search::{Counterexample, explore};
use super::world::{Left, Memory, Truth, World, job, now};

/// A limit, the routes below or above it, and what is switched off.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    pub limit: u64,
    /// The price of each route, and when its provider charges.
    pub routes: [(u64, ChargedOn); 2],
    pub off: Off,
}

/// A part of the rule, to be switched off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Off {
    Nothing,
    /// No limit at all: the attempt takes its turn.
    Rule,
    /// Attempts whose outcome nobody knows count as free.
    Doubt,
    /// Attempts that ended at the provider count as free, whenever it charges.
    Charge,
    /// Attempts whose result was made, and could not be had, count as free where success is charged.
    Lost,
    /// Only attempts since the last retry count.
    Before,
    /// Who is over the limit ends nothing: the attempt is made to the cheapest route.
    End,
}

/// What an owner found when it weighed its next attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weighed(Result<AccountId, OverLimit>);

/// The end by T23: the attempts that there were.
pub type Refused = Option<u16>;

impl Cost {
    const fn account(place: usize) -> AccountId {
        AccountId(if place == 0 { 1 } else { 2 })
    }

    fn of(&self, account: AccountId) -> (u64, ChargedOn) {
        self.routes[usize::from(account == Self::account(1))]
    }

    fn cheapest(&self) -> u64 {
        self.routes.iter().map(|(price, _)| *price).min().unwrap_or(0)
    }

    /// As the engine does it, from the rows that there are now.
    fn weigh(&self, world: &World, record: &Record) -> Weighed {
        let routes: Vec<Route> = (self.routes.iter().enumerate())
            .map(|(place, _)| Route {
                account: Self::account(place),
                model: "model".into(),
                pool: PoolId::NONE,
                limits: Limits::NONE,
            })
            .collect();
        let turns: Vec<AccountId> =
            turns_of(&routes, record.first_attempt, record.next_attempt()).map(|route| route.account).collect();
        if self.off == Off::Rule {
            return Weighed(Ok(turns[0]));
        }
        let timeline = now(world.store.timeline(record.project, job())).unwrap().expect("the job");
        let counted = timeline.attempts.iter().filter(|attempt| match self.off {
            Off::Doubt => !matches!(attempt.state, AttemptState::Unknown | AttemptState::Waived),
            Off::Charge => attempt.state != AttemptState::FailedAtProvider,
            Off::Before => attempt.n >= record.first_attempt,
            Off::Nothing | Off::Rule | Off::Lost | Off::End => true,
        });
        let made = counted.map(|attempt| {
            let (price, charged_on) = self.of(attempt.account);
            let made = Made::of(attempt, charged_on, Some(price));
            Made { lost_result: made.lost_result && self.off != Off::Lost, ..made }
        });
        let prices = turns.iter().map(|account| Some(self.of(*account).0));
        match first_within(self.limit, spent(made), prices) {
            Err(_) if self.off == Off::End => Weighed(Ok(turns[0])),
            found => Weighed(found.map(|turn| turns[turn])),
        }
    }

    /// What the provider charged for the attempts of the job, but for those it had refused.
    fn charged(&self, world: &World) -> u64 {
        let mut charged: BTreeMap<u16, u64> = BTreeMap::new();
        for (text, bought) in world.ledger.iter().filter(|(_, bought)| !world.ever_lied.contains(&bought.n)) {
            let attempt = world.attempts().into_iter().find(|attempt| attempt.n.0 == bought.n);
            let Some(attempt) = attempt else { continue };
            // Where a person named another provider job as this attempt's, that is the one.
            let named = attempt.provider_job.as_ref().is_none_or(|known| known.as_str() == text);
            let (price, charged_on) = self.of(attempt.account);
            if named && (charged_on == ChargedOn::Submit || bought.truth == Truth::Done) {
                charged.insert(bought.n, price);
            }
        }
        charged.values().sum()
    }

    /// The limit holds, and a job that was refused for it is left alone.
    pub fn broken(&self, world: &World) -> Option<String> {
        let charged = self.charged(world);
        if charged > self.limit {
            return Some(format!("{charged} were charged, {} were allowed", self.limit));
        }
        let last = world.refused?;
        let (name, opened) = (world.record().state.name(), world.attempts().iter().any(|attempt| attempt.n.0 > last));
        if opened || world.ledger.values().any(|bought| bought.n > last) {
            return Some("an attempt was opened after the job was refused for its cost".to_owned());
        }
        if name != StateName::Failed {
            return Some(format!("it was refused for its cost and is {}", name.word()));
        }
        None
    }
}

/// The owner is to make an attempt: first it looks whether there may be one, then it makes it, or ends the job.
pub fn submit_within(ways: &mut Ways<'_>, cost: Cost) {
    let Some(memory) = &ways.from.memory else { return };
    match memory.weighed {
        None => ways.add(true, "weigh", move |world| {
            let Some(record) = world.memory.as_ref().map(|memory| memory.record.clone()) else { return };
            let weighed = cost.weigh(world, &record);
            let free = world.attempts().iter().all(|attempt| attempt.state == AttemptState::NotAccepted);
            if free && weighed.0.is_err() && cost.cheapest() <= cost.limit {
                world.broken = Some("nothing was paid, and the limit leaves no room".to_owned());
            }
            if let Some(memory) = &mut world.memory {
                memory.weighed = Some(weighed);
            }
        }),
        Some(Weighed(Ok(account))) => ways.add(true, format!("submit to {account}"), move |world| {
            submit_to(world, account);
        }),
        Some(Weighed(Err(_))) => {
            ways.add(true, "over the limit", refuse);
            ways.add(false, "over the limit, and it goes on with its old picture", |world| {
                let old = world.memory.clone();
                refuse(world);
                world.memory = old.map(|old| Memory { weighed: Some(Weighed(Ok(Cost::account(0)))), ..old });
            });
        }
    }
}

/// T23, if nothing came between.
fn refuse(world: &mut World) {
    let before = world.record().ver;
    commit(world, Input::OverLimit);
    if world.record().ver > before {
        world.refused = Some(world.attempts().iter().map(|attempt| attempt.n.0).max().unwrap_or(0));
    }
}

const DEAR_SECOND: Cost =
    Cost { limit: 120, routes: [(50, ChargedOn::Submit), (90, ChargedOn::Success)], off: Off::Nothing };
const ONE_PURCHASE: Cost =
    Cost { limit: 100, routes: [(60, ChargedOn::Submit), (60, ChargedOn::Submit)], off: Off::Nothing };
const ON_SUCCESS: Cost =
    Cost { limit: 100, routes: [(60, ChargedOn::Success), (60, ChargedOn::Success)], off: Off::Nothing };
const TOO_LITTLE: Cost =
    Cost { limit: 49, routes: [(50, ChargedOn::Submit), (90, ChargedOn::Success)], off: Off::Nothing };

fn explored(left: Left, cost: Cost) -> Result<usize, Counterexample> {
    explore(&Machine { left, cost: Some(cost) })
}

fn holds(what: &str, left: Left, cost: Cost) {
    let states = explored(left, cost).unwrap_or_else(|found| panic!("{what}: {found:#?}"));
    println!("machine, {what}: {states} states");
    assert!(states > 20, "the machine hardly moves: {states}");
}

#[test]
fn a_limit_on_cost_holds_through_doubt_and_decisions() {
    holds("cost, decisions", Left { attempts: 3, resolves: 1, crashes: 1, ..NOTHING }, DEAR_SECOND);
    holds("cost, one purchase", Left { resolves: 1, crashes: 1, cancels: 1, ..NOTHING }, ONE_PURCHASE);
    holds("cost, lies", Left { attempts: 3, refusals: true, lies: 1, ..NOTHING }, ONE_PURCHASE);
}

#[test]
fn a_limit_on_cost_holds_through_retries() {
    holds("cost, retry", Left { retries: 1, cancels: 1, deadlines: 1, ..NOTHING }, ONE_PURCHASE);
    holds("cost, retry where success is charged", Left { attempts: 3, retries: 1, cancels: 1, ..NOTHING }, ON_SUCCESS);
}

#[test]
fn what_cannot_be_paid_is_never_sent() {
    let left = Left { retries: 1, cancels: 1, deadlines: 1, crashes: 1, hides: 1, ..NOTHING };
    holds("cost, nothing fits", left, TOO_LITTLE);
}

/// A part of the rule that can be switched off without harm is none, or the model is blind.
#[test]
fn without_the_limit_on_cost_there_is_a_counterexample() {
    let retried = Left { retries: 1, ..NOTHING };
    let ablations = [
        ("the limit", NOTHING, Cost { off: Off::Rule, ..TOO_LITTLE }),
        ("the end", NOTHING, Cost { off: Off::End, ..ONE_PURCHASE }),
        ("what is in doubt", Left { resolves: 1, ..NOTHING }, Cost { off: Off::Doubt, ..ONE_PURCHASE }),
        ("what was charged on submission", NOTHING, Cost { off: Off::Charge, ..ONE_PURCHASE }),
        ("what was lost", Left { attempts: 2, ..retried }, Cost { off: Off::Lost, ..ON_SUCCESS }),
        ("what was before a retry", retried, Cost { off: Off::Before, ..ONE_PURCHASE }),
    ];
    for (what, left, cost) in ablations {
        let found = explored(left, cost).expect_err(what);
        println!("without {what}: {} after {} actions", found.what, found.trace.len());
        assert!(found.what.contains("were charged"), "{what}: {found:#?}");
        assert!(found.trace.len() <= 20, "{what}: {found:#?}");
    }
}
