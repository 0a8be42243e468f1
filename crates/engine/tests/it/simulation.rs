//! Seeds: no fault pays twice, loses a job or forgets what was paid.
//!
//! Each seed runs twice, and its two histories must be one. `cargo xtask simulate --seeds N --from SEED` runs more.

use crate::runs::{Outcome, run, shrink};
use crate::sim::options::{Class, Options};

/// Seeds of all classes together where nobody asks for more.
const SEEDS: u64 = 200;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Seeds that once broke, each of another reason.
const BROKE_ONCE: [u64; 2] = [670, 1_079];

/// The seeds of one class: with six classes, every sixth.
fn seeds(class: Class) -> impl Iterator<Item = u64> {
    let (from, count) = (number("LONGTAKE_SIM_FROM", 1), number("LONGTAKE_SIM_SEEDS", SEEDS));
    BROKE_ONCE.into_iter().chain(from..from + count).filter(move |seed| seed % 6 == class as u64)
}

fn fail(options: &Options, outcome: &Outcome) -> ! {
    println!("{}", outcome.tail.join("\n"));
    println!("seed {} broke: {:#?}\n{options:#?}", options.seed, outcome.violations);
    let (least, shrunk) = shrink(options);
    println!("with the fewest faults:\n{}", shrunk.tail.join("\n"));
    println!("it takes {least:?} to break {:#?}", shrunk.violations);
    println!("again: cargo xtask simulate --seeds 1 --from {}", options.seed);
    panic!("seed {}: {}", options.seed, outcome.violations.first().map_or("", String::as_str));
}

/// Something random got in. `LONGTAKE_SIM_TRACE=1000000` keeps whole traces, so that the first difference is seen.
fn differ(seed: u64, one: &Outcome, two: &Outcome) -> ! {
    let first = one.tail.iter().zip(&two.tail).position(|(one, two)| one != two).unwrap_or_default();
    for lines in [&one.tail, &two.tail] {
        let from = first.saturating_sub(10);
        println!("{}\n---", lines[from..lines.len().min(first + 3)].join("\n"));
    }
    panic!("seed {seed}: two runs of it are two histories");
}

fn simulate(class: Class) {
    for seed in seeds(class) {
        let options = Options::of_seed(seed, class);
        let outcome = run(&options);
        println!("seed {seed}: {}", outcome.summary);
        if !outcome.violations.is_empty() {
            fail(&options, &outcome);
        }
        let again = run(&options);
        if outcome.hash != again.hash {
            differ(seed, &outcome, &again);
        }
    }
}

#[test]
fn no_fault_pays_twice_or_forgets_where_nothing_can_be_looked_up() {
    simulate(Class::Nothing);
}

#[test]
fn no_fault_pays_twice_or_forgets_where_references_are_found() {
    simulate(Class::ByRef);
}

#[test]
fn no_fault_pays_twice_or_forgets_where_jobs_are_listed() {
    simulate(Class::Listing);
}

#[test]
fn no_fault_pays_twice_or_forgets_where_only_shapes_are_listed() {
    simulate(Class::Shape);
}

#[test]
fn no_fault_pays_twice_or_forgets_where_jobs_are_called_back() {
    simulate(Class::Callback);
}

#[test]
fn no_fault_pays_twice_or_forgets_where_keys_are_recognised() {
    simulate(Class::Key);
}
