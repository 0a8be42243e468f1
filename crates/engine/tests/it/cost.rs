//! A client's limit on cost, and a source that only one account has: which route each attempt takes, and when none may.

use longtake_core::attempt::AttemptState;
use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::{AccountId, JobId};
use longtake_core::provider::ChargedOn;
use longtake_core::request::{Source, SourceKind};
use longtake_core::state::{JobState, StateName};
use longtake_core::store::Store as _;
use longtake_engine::OnUnknown;

use crate::runs::with_rules;
use crate::sim::options::{Class, Options};
use crate::sim::provider::Fate;
use crate::sim::vendor::Plan;
use crate::stage::{Stage, attempts};

/// What became of one job: at which accounts it was attempted, what was bought there, and how it ended.
#[derive(Debug)]
struct Outcome {
    /// Places of the accounts in the order of the routes.
    tried: Vec<usize>,
    states: Vec<AttemptState>,
    bought: Vec<usize>,
    failure: Option<Failure>,
}

/// One job with this limit over two accounts with these prices, whose submissions fare so.
async fn run(
    class: Class,
    prices: [Option<u64>; 2],
    limit: Option<u64>,
    fates: &[Fate],
    source: Option<usize>,
) -> Outcome {
    let options = Options { accounts: 2, on_unknown: OnUnknown::Resubmit, ..Options::scripted(class) };
    let stage = Stage::begin(options).await;
    let world = stage.world.clone();
    let place = |account: AccountId| world.accounts.iter().position(|known| *known == account).expect("one of ours");
    for (account, price) in world.accounts.iter().zip(prices) {
        if let Some(price) = price {
            world.vendor.set_price(*account, price);
        }
    }
    world.vendor.script(fates);
    let job = stage
        .create_changed(0, |request| {
            request.max_cost_usd_micros = limit;
            request.source = source.map(|place| Source {
                video: JobId::from_bytes([9; 16]),
                kind: SourceKind::Remix,
                account: world.accounts[place],
                provider_job: None,
            });
        })
        .await;
    stage.until("the end", || stage.state(job).is_terminal()).await;
    let failure = match stage.record(job).state {
        JobState::Failed { failure } => Some(failure),
        _ => None,
    };
    let world = stage.end().await;
    let made = world.database.rows.attempts().into_iter().filter(|(of, _)| *of == job);
    Outcome {
        tried: made.map(|(_, attempt)| place(attempt.account)).collect(),
        states: attempts(&world, job),
        bought: world.vendor.bills().iter().map(|bill| place(bill.account)).collect(),
        failure,
    }
}

fn limited(prices: [Option<u64>; 2], limit: u64, fates: &[Fate]) -> Outcome {
    with_rules(run(Class::Nothing, prices, Some(limit), fates, None))
}

#[test]
fn a_route_above_the_limit_is_passed_over_from_the_first_attempt_on() {
    let outcome = limited([Some(101), Some(100)], 100, &[]);
    assert_eq!((outcome.tried, outcome.bought, outcome.failure), (vec![1], vec![1], None));
}

#[test]
fn a_price_nobody_knows_is_passed_over() {
    let outcome = limited([None, Some(100)], 100, &[]);
    assert_eq!((outcome.tried, outcome.bought, outcome.failure), (vec![1], vec![1], None));
}

#[test]
fn a_refusal_costs_nothing_so_the_next_route_has_the_whole_limit() {
    let outcome = limited([Some(100), Some(100)], 100, &[Fate::AccountRefused]);
    assert_eq!(outcome.states, [AttemptState::NotAccepted, AttemptState::Done]);
    assert_eq!((outcome.tried, outcome.bought), (vec![0, 1], vec![1]));
}

#[test]
fn a_fallback_that_would_break_the_limit_is_passed_over() {
    // The first may be paid. The turn is the dear one's; together they would cost 140.
    let outcome = limited([Some(50), Some(90)], 120, &[Fate::Lost]);
    assert_eq!(outcome.states, [AttemptState::Waived, AttemptState::Done]);
    assert_eq!((outcome.tried, outcome.bought), (vec![0, 0], vec![0]));
}

#[test]
fn without_a_limit_the_same_job_takes_the_dear_route() {
    let outcome = with_rules(run(Class::Nothing, [Some(50), Some(90)], None, &[Fate::Lost], None));
    assert_eq!((outcome.tried, outcome.bought), (vec![0, 1], vec![1]));
}

#[test]
fn where_nothing_fits_any_more_the_job_fails_and_says_why() {
    let outcome = limited([Some(50), Some(90)], 99, &[Fate::Dropped]);
    assert_eq!(outcome.states, [AttemptState::Waived]);
    assert_eq!(outcome.bought, [0], "never twice");
    let failure = outcome.failure.expect("it failed");
    assert_eq!(failure.code, FailureCode::SubmissionInDoubt);
    assert!(failure.message.contains("max_cost_usd"), "{}", failure.message);
}

#[test]
fn prices_that_rose_since_the_create_end_the_job_unpaid() {
    let outcome = limited([Some(200), None], 100, &[]);
    assert_eq!((outcome.tried, outcome.bought), (vec![], vec![]));
    assert_eq!(outcome.failure.expect("it failed").code, FailureCode::ProviderUnavailable);
}

#[test]
fn every_attempt_goes_to_the_account_that_made_the_source() {
    for place in [0, 1] {
        let fates = [Fate::NotSent, Fate::NotSent];
        let outcome = with_rules(run(Class::ByRef, [None, None], None, &fates, Some(place)));
        assert_eq!((outcome.tried, outcome.bought), (vec![place; 3], vec![place]));
        assert_eq!(outcome.failure, None);
    }
}

/// A remix that was sent and whose answer was lost is found again like any other, and not bought twice.
#[test]
fn a_remix_is_found_again_where_it_was_sent() {
    for class in [Class::ByRef, Class::Listing, Class::Key] {
        let outcome = with_rules(run(class, [None, None], None, &[Fate::Dropped], Some(1)));
        assert_eq!((outcome.tried, outcome.bought), (vec![1], vec![1]), "{class:?}");
        assert_eq!(outcome.states, [AttemptState::Done], "{class:?}");
    }
}

#[test]
fn a_limit_and_a_source_hold_together() {
    let outcome = with_rules(run(Class::Nothing, [Some(10), Some(200)], Some(100), &[], Some(1)));
    assert_eq!(outcome.bought, Vec::<usize>::new(), "the cheap route has no such video");
    assert_eq!(outcome.failure.map(|failure| failure.code), Some(FailureCode::ProviderUnavailable));
    assert_eq!(outcome.states, []);
    let stays = with_rules(run(Class::Nothing, [Some(10), Some(100)], Some(100), &[], Some(1)));
    assert_eq!(stays.bought, [1]);
}

/// A job that costs 60 of 100 allowed, fails by this plan, and is retried: it ends with this code and is not bought again.
fn not_bought_again(charged_on: ChargedOn, plan: Plan, code: FailureCode) {
    with_rules(async {
        let stage = Stage::begin(Options { charged_on, ..Options::scripted(Class::ByRef) }).await;
        let world = stage.world.clone();
        world.vendor.set_price(world.accounts[0], 60);
        world.vendor.plan(plan);
        let job = stage.create_changed(0, |request| request.max_cost_usd_micros = Some(100)).await;
        stage.until_state(job, StateName::Failed).await;
        let project = stage.record(job).project;
        world.front_door().retry(project, job, "client".into(), world.pools[0]).await.expect("the store works");
        stage.until("the second end", || stage.record(job).ver > 5 && stage.state(job).is_terminal()).await;
        let JobState::Failed { failure } = stage.record(job).state else { panic!("{:?}", stage.record(job)) };
        assert_eq!(failure.code, code);
        assert!(failure.message.contains("max_cost_usd"), "{}", failure.message);
        let world = stage.end().await;
        assert_eq!(world.vendor.bills().len(), 1, "a second one would make 120");
    });
}

#[test]
fn a_retry_counts_what_went_before() {
    let fails = Plan { failure: Some(FailureCode::ProviderError), ..Plan::default() };
    not_bought_again(ChargedOn::Submit, fails, FailureCode::ProviderError);
}

/// The provider succeeded, so it charges, whatever its bytes are worth.
#[test]
fn a_retry_counts_a_result_that_could_not_be_had() {
    let spoiled = Plan { bad_copies: Some(1_000), ..Plan::default() };
    not_bought_again(ChargedOn::Success, spoiled, FailureCode::ArtifactUnavailable);
}
