//! Runs one seed from its first start to its rest, and tells what became of it.

use std::cell::Cell;
use std::sync::{Once, PoisonError, RwLock};

use longtake_core::ablation::{Rule, switch_off};

use tokio::task::JoinSet;

use crate::sim::clients::{self, Acknowledged};
use crate::sim::clock::{pause, secs};
use crate::sim::faults::FaultSet;
use crate::sim::options::Options;
use crate::sim::world::World;
use crate::sim::{chaos, invariants};

/// What one run showed.
pub struct Outcome {
    pub violations: Vec<String>,
    pub hash: (u64, u64),
    pub tail: Vec<String>,
    pub summary: String,
}

thread_local! {
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// Panics in tasks are caught by their task set; here they count.
fn count_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANICS.with(|panics| panics.set(panics.get() + 1));
            usual(panic);
        }));
    });
    PANICS.with(|panics| panics.set(0));
}

/// How long phase 2 may take: beyond the watch limit, and every wait before it.
const REST_LIMIT: std::time::Duration = secs(5 * 3_600);
/// When, in phase 2, all processes but one hand over and end.
const ALL_STAY: std::time::Duration = secs(300);
/// How often the invariants are checked on the way.
const CHECK_EVERY: std::time::Duration = secs(60);

/// Rules are switched off for the whole process: whoever does so runs alone.
static RULES: RwLock<()> = RwLock::new(());

/// A world of its own on a runtime of its own, with all rules.
pub fn with_rules<T>(live: impl Future<Output = T>) -> T {
    let _shared = RULES.read().unwrap_or_else(PoisonError::into_inner);
    on_a_runtime(live)
}

fn on_a_runtime<T>(live: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    runtime.expect("a runtime for one thread").block_on(live)
}

/// One world, from its first process to its rest.
pub fn run(options: &Options) -> Outcome {
    count_panics();
    judged(with_rules(live(options.clone())))
}

/// The same without one rule.
pub fn run_without(rule: Rule, options: &Options) -> Outcome {
    struct AllRules;
    impl Drop for AllRules {
        fn drop(&mut self) {
            switch_off(&[]);
        }
    }
    let _alone = RULES.write().unwrap_or_else(PoisonError::into_inner);
    let _all_rules_again = AllRules;
    switch_off(&[rule]);
    count_panics();
    judged(on_a_runtime(live(options.clone())))
}

fn judged(mut outcome: Outcome) -> Outcome {
    let panics = PANICS.with(Cell::get);
    if panics > 0 {
        outcome.violations.push(format!("{panics} steps panicked"));
    }
    outcome
}

async fn live(options: Options) -> Outcome {
    let world = World::new(options).await;
    let acknowledged = Acknowledged::default();
    for place in 0..world.options.engines {
        world.start(place).await;
    }
    let (mut troubles, mut client_tasks) = (JoinSet::new(), JoinSet::new());
    chaos::begin(&world, &mut troubles);
    clients::begin(&world, &acknowledged, &mut client_tasks);
    troubles.spawn(clients::person(world.clone(), secs(1_000)));
    let mut left = world.options.phase_1;
    while !left.is_zero() && world.trace.violations().is_empty() {
        let step = left.min(CHECK_EVERY);
        pause(step).await;
        left -= step;
        invariants::always(&world);
    }
    if world.trace.violations().is_empty() {
        rest(&world, troubles, &acknowledged, &mut client_tasks).await;
    }
    world.end();
    let summary = summary(&world);
    Outcome { violations: world.trace.violations(), hash: world.trace.hash(), tail: world.trace.tail(), summary }
}

/// Phase 2: no faults any more.
async fn rest(
    world: &std::sync::Arc<World>,
    mut troubles: JoinSet<()>,
    acknowledged: &Acknowledged,
    client_tasks: &mut JoinSet<()>,
) {
    world.trace.log(format_args!("faults end"));
    world.faults.stop();
    troubles.abort_all();
    while troubles.join_next().await.is_some() {}
    world.database.set_out(false);
    world.bury_all();
    for place in 0..world.options.engines {
        if !world.is_running(place) {
            world.crash(place);
            world.start(place).await;
        }
        if let Some((_, clock)) = world.process(place) {
            clock.skew(0);
        }
    }
    let mut people = JoinSet::new();
    people.spawn(clients::person(world.clone(), secs(60)));
    let mut waited = std::time::Duration::ZERO;
    loop {
        pause(CHECK_EVERY).await;
        waited += CHECK_EVERY;
        if waited == ALL_STAY {
            // The others hand over: one process is enough to come to rest.
            for place in 1..world.options.engines {
                world.drain(place).await;
            }
        }
        invariants::always(world);
        let unrest = invariants::unrest(world);
        while client_tasks.try_join_next().is_some() {}
        match unrest {
            None if client_tasks.is_empty() => break,
            Some(unrest) if waited >= REST_LIMIT => {
                world.trace.violation(format!("I12: no rest after {REST_LIMIT:?}: {unrest}"));
                break;
            }
            _ if !world.trace.violations().is_empty() => break,
            _ => {}
        }
    }
    if !world.trace.violations().is_empty() {
        return;
    }
    invariants::at_rest(world, acknowledged).await;
    clients::hide_some(world).await;
    invariants::always(world);
}

fn summary(world: &World) -> String {
    let records = world.database.rows.records();
    let mut states = std::collections::BTreeMap::<&str, usize>::new();
    for record in &records {
        *states.entry(record.state.name().word()).or_default() += 1;
    }
    let (bills, calls, commits) = (world.vendor.bills().len(), world.vendor.calls(), world.database.commits());
    format!("{states:?}, {bills} bills, {calls} provider calls, {commits} commits")
}

/// Which faults it takes: each is left out in turn, and stays out if the seed breaks all the same.
pub fn shrink(options: &Options) -> (FaultSet, Outcome) {
    let mut least = options.clone();
    let mut outcome = run(&least);
    for fault in options.faults.list() {
        let fewer = Options { faults: least.faults.without(fault), ..least.clone() };
        let tried = run(&fewer);
        if !tried.violations.is_empty() {
            (least, outcome) = (fewer, tried);
        }
    }
    (least.faults, outcome)
}
