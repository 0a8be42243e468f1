//! L3 on PostgreSQL: crash points x faults x provider classes, with real processes (docs/durability.md).
//!
//! A [`cell::Cell`] freezes a victim at a point, lets something go wrong there, brings everything to rest and audits the
//! rows, the vendor's books and the files. Every change runs [`subset::CELLS`]; `cargo xtask matrix` runs all of it.
//! Absent, with the reasons in [`faults::ABSENT`]: what ends the database itself.

mod bucket;
mod cell;
mod failover;
mod faults;
mod points;
mod stage;
mod subset;

use std::collections::BTreeSet;

use futures::StreamExt;

use crate::fleet::vendor::Class;
use cell::{Cell, Report};
use faults::Fault;
use points::Point;

/// Cells at once: each is a handful of processes, and most of its time is waiting.
const AT_ONCE: usize = 4;

async fn run(cells: Vec<Cell>) -> Vec<Report> {
    let at_once =
        std::env::var("LONGTAKE_TEST_MATRIX_AT_ONCE").ok().and_then(|text| text.parse().ok()).unwrap_or(AT_ONCE);
    let running = futures::stream::iter(cells.into_iter().map(|cell| async move {
        // A task of its own, so that a cell that panics is one row of the table.
        let report = tokio::spawn(cell.run("")).await;
        let report = report.unwrap_or_else(|error| Report::broken(cell, format!("panicked: {error}")));
        println!("{}", report.row());
        for violation in &report.violations {
            println!("    {violation}");
        }
        report
    }));
    running.buffer_unordered(at_once).collect().await
}

fn judge(reports: &[Report]) {
    println!("\n{}", Report::HEAD);
    for report in reports {
        println!("{}", report.row());
    }
    for (fault, why) in faults::ABSENT {
        println!("{fault:34} absent: {why}");
    }
    let broken: Vec<&Report> = reports.iter().filter(|report| !report.violations.is_empty()).collect();
    let sum = |count: fn(&Report) -> usize| reports.iter().map(count).sum::<usize>();
    println!(
        "{} cells, {} videos, {} kills, {} lost, {} billed twice, {} held, {} cells broken",
        reports.len(),
        sum(|report| report.jobs),
        sum(|report| report.kills),
        sum(|report| report.lost),
        sum(|report| report.billed_twice),
        sum(|report| report.held),
        broken.len()
    );
    let names: Vec<String> =
        broken.iter().map(|report| format!("{}: {:?}", report.cell.name(), report.violations)).collect();
    assert!(broken.is_empty(), "{}", names.join("\n"));
}

/// The cells named in a variable, by `point-fault-class`.
fn named() -> Option<Vec<Cell>> {
    let names = std::env::var("LONGTAKE_TEST_MATRIX_CELLS").ok()?;
    let cells = subset::whole().into_iter();
    Some(cells.filter(|cell| names.split(',').any(|name| cell.name().starts_with(name))).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_named_subset_of_the_crash_matrix_holds() {
    let subset = || subset::CELLS.into_iter().chain(subset::VENDOR_CELLS).collect();
    judge(&run(named().unwrap_or_else(subset)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_crash_matrix_holds_with_videos_in_a_bucket() {
    let named = named().map(|cells| cells.into_iter().filter(|cell| cell.bucket).collect());
    judge(&run(named.unwrap_or_else(|| bucket::CELLS.into())).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes hours: cargo xtask matrix"]
async fn the_whole_crash_matrix_holds() {
    judge(&run(named().unwrap_or_else(subset::whole)).await);
}

#[test]
fn the_subset_has_each_point_each_fault_and_each_class() {
    let cells: Vec<Cell> = subset::CELLS.into_iter().chain(subset::VENDOR_CELLS).chain(bucket::CELLS).collect();
    let points: BTreeSet<Point> = cells.iter().map(|cell| cell.point).collect();
    let faults: BTreeSet<Fault> = cells.iter().map(|cell| cell.fault).collect();
    let classes: BTreeSet<Class> = cells.iter().map(|cell| cell.class).collect();
    assert_eq!(points, Point::ALL.into_iter().collect());
    assert_eq!(faults, Fault::ALL.into_iter().collect());
    assert_eq!(classes, Class::ALL.into_iter().collect());
    assert!(cells.iter().all(|cell| cell.is_possible()));
    let known: BTreeSet<String> = Fault::ALL.into_iter().map(Fault::family).collect();
    let absent: BTreeSet<String> = faults::ABSENT.iter().map(|(name, _)| (*name).to_owned()).collect();
    let all: BTreeSet<String> = known.union(&absent).cloned().collect();
    assert_eq!(
        all,
        (1..=15).map(|n| format!("F{n}")).collect(),
        "each fault of the design is here, or is said to be absent"
    );
}

/// Runs of a cell without a rule, until one breaks: what the rule guards against is a race, which a run may win (without R5
/// the successor may be finding out already when the victim's word comes).
const RUNS_WITHOUT: usize = 4;

/// With a rule off the same cell must break, or the matrix is blind. That it holds with the rule on, the subset shows.
async fn is_noticed(rule: &str, cell: Cell) {
    assert!(subset::CELLS.contains(&cell), "the subset shows that it holds with every rule on");
    for _ in 0..RUNS_WITHOUT {
        let report = cell.run(rule).await;
        println!("{rule} off: {}\n    {:?}", report.row(), report.violations);
        if !report.violations.is_empty() {
            return;
        }
    }
    panic!("{} does not notice that {rule} is off", cell.name());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ablation_of_r1_is_noticed_by_processes() {
    is_noticed("R1", Cell::new(Point::C3, Fault::F1, Class::None)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ablation_of_r4_is_noticed_by_processes() {
    is_noticed("R4", Cell::new(Point::C6, Fault::F1, Class::None)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ablation_of_r6_is_noticed_by_processes() {
    is_noticed("R6", Cell::new(Point::C7, Fault::F1, Class::Callback)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ablation_of_r5_is_noticed_by_processes() {
    is_noticed("R5", Cell::new(Point::C7, Fault::F2, Class::None)).await;
}
