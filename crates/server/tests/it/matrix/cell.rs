//! One cell: a point, a fault, a class of provider; run, brought to rest, audited.

use std::time::Duration;

use tokio::time::Instant;

use super::faults::Fault;
use super::points::Point;
use super::stage::Stage;
use crate::fleet::audit::Audit;
use crate::fleet::until;
use crate::fleet::vendor::Class;

/// Longest time until everything has come to rest.
const REST_BOUND: Duration = Duration::from_secs(75);
/// Longest time for which a job may be held whose outcome somebody knows.
const HELD_BOUND: Duration = Duration::from_secs(20);
/// Rounds of a person who looks after what is held.
const MAX_ROUNDS: usize = 4;

/// What is combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cell {
    pub point: Point,
    pub fault: Fault,
    pub class: Class,
    /// Videos lie in a bucket, not in a folder.
    pub bucket: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct Report {
    pub cell: Cell,
    pub jobs: usize,
    pub kills: usize,
    pub lost: usize,
    pub billed_twice: usize,
    pub held: usize,
    /// From the fault until everything was at rest or held.
    pub recovery_ms: u128,
    pub took_ms: u128,
    pub violations: Vec<String>,
}

impl Report {
    /// Above the rows.
    pub const HEAD: &str =
        "cell                               jobs  kills   lost  billed twice   held  recovery ms   took ms  outcome";

    fn empty(cell: Cell) -> Self {
        Self {
            cell,
            jobs: 0,
            kills: 0,
            lost: 0,
            billed_twice: 0,
            held: 0,
            recovery_ms: 0,
            took_ms: 0,
            violations: Vec::new(),
        }
    }

    /// Of a cell that did not come to its end.
    pub fn broken(cell: Cell, problem: String) -> Self {
        Self { violations: vec![problem], ..Self::empty(cell) }
    }

    /// One line of the table.
    pub fn row(&self) -> String {
        let Self { cell, jobs, kills, lost, billed_twice, held, recovery_ms, took_ms, violations } = self;
        let place = if cell.bucket { " bucket" } else { "" };
        let name = format!("{:?} {:?} {}{place}", cell.point, cell.fault, cell.class.word());
        let outcome = if violations.is_empty() { "ok" } else { "BROKEN" };
        format!(
            "{name:34} {jobs:>4} {kills:>6} {lost:>6} {billed_twice:>13} {held:>6} {recovery_ms:>12} {took_ms:>9}  {outcome}"
        )
    }
}

impl Cell {
    pub const fn new(point: Point, fault: Fault, class: Class) -> Self {
        Self { point, fault, class, bucket: false }
    }

    pub const fn in_bucket(point: Point, fault: Fault, class: Class) -> Self {
        Self { point, fault, class, bucket: true }
    }

    /// For folders and tables.
    pub fn name(self) -> String {
        let place = if self.bucket { "-Bucket" } else { "" };
        format!("{:?}-{:?}-{:?}{place}", self.point, self.fault, self.class)
    }

    /// Whether the combination can be.
    pub const fn is_possible(self) -> bool {
        // An API node talks to no provider; and what it acknowledged before an asynchronous failover may be lost.
        let api = self.point.is_of_api() && matches!(self.fault, Fault::F9Provider | Fault::F5);
        // That adapter has no such setting.
        let late = matches!((self.fault, self.class), (Fault::F10Late, Class::Callback));
        // Nothing is ever known to be accepted there.
        let never =
            matches!(self.fault, Fault::F10Late) && !self.class.can_find_out() && self.point.is_after_acceptance();
        // Nobody else calls.
        let silent = self.point.is_of_callbacks() && !matches!(self.class, Class::Callback);
        // In a folder there are no parts, and no way to it that could be cut.
        let folder = !self.bucket && (self.fault.is_of_bucket() || matches!(self.point, Point::C12Parts));
        !api && !late && !never && !silent && !folder
    }

    /// Whether a person may be needed: where nobody can find out, and somebody who knew is dead or heard nothing.
    pub const fn may_hold(self) -> bool {
        let killed = self.fault.kills() && self.point.leaves_doubt();
        // The victim of C6 hears no answer in time, whatever happens to it; that of C4 cannot say that it never sent
        // while the database is away.
        let deaf = matches!(self.point, Point::C6 | Point::C19);
        // Sends of the others may be cut as well.
        let anywhere = self.fault.leaves_doubt();
        !self.class.can_find_out() && (killed || deaf || anywhere)
            || matches!(self.fault, Fault::F9Provider | Fault::F5)
    }

    /// Runs it; `rules_off` are switched off in every node.
    pub async fn run(self, rules_off: &str) -> Report {
        let started = Instant::now();
        let mut report = Report::empty(self);
        match Stage::start(self, rules_off).await {
            Ok(mut stage) => {
                if let Err(problem) = self.act(&mut stage, &mut report, rules_off.is_empty()).await {
                    report.violations.push(problem);
                }
                stage.clean_up(!report.violations.is_empty());
            }
            Err(problem) => report.violations.push(problem),
        }
        report.took_ms = started.elapsed().as_millis();
        report
    }

    async fn act(self, stage: &mut Stage, report: &mut Report, rules_are_on: bool) -> Result<(), String> {
        if self.fault == Fault::F5 {
            // The creates are on both servers; what the victim does is on one.
            stage.create_all();
            stage.acknowledge_all().await?;
            super::failover::cut_off(stage).await?;
        }
        self.point.reach(stage).await?;
        self.fault.strike(stage).await?;
        let struck = Instant::now();
        stage.start_others().await?;
        if self.fault == Fault::F10Late {
            // Over once it has struck.
            until!("the vendor accepted late", REST_BOUND, stage.vendor.ledger().accepted() > 0).await?;
        }
        if matches!(self.point, Point::C6 | Point::C19) || self.fault == Fault::F10Late {
            stage.vendor.set_faults(&self.fault.left_of_vendor()).await?;
        }
        if self.fault.kills() {
            report.kills += 1;
            stage.start_victim(&[]).await?;
        } else if self.point == Point::C19 {
            stage.victim.ended().await?;
            stage.start_victim(&[]).await?;
        }
        stage.acknowledge_all().await?;
        rest(stage, true).await?;
        let held = "select count(*) from job where state = 27";
        if !self.may_hold() {
            // Who knows the answer may have been silent for longer than the others looked for it.
            let resolved = until!("nothing is held", HELD_BOUND, stage.db.number(held).await == Ok(0)).await;
            if let Err(problem) = resolved {
                report.violations.push(format!("held although it can be found out: {problem}"));
            }
            rest(stage, true).await?;
        }
        report.recovery_ms = struck.elapsed().as_millis();
        report.jobs = stage.acknowledged.ids.len();
        report.held = usize::try_from(stage.db.number(held).await?).unwrap_or(0);
        if !rules_are_on && !report.violations.is_empty() {
            return Ok(());
        }
        // A failover may lose what was taken in.
        for id in stage.held_although_told().await?.iter().filter(|_| self.fault != Fault::F5) {
            report.violations.push(format!("held although the vendor told of it: {id}"));
        }
        if self.point == Point::C18 {
            stage.retry_canceled().await?;
        }
        for _ in 0..MAX_ROUNDS {
            rest(stage, true).await?;
            if stage.resolve_held().await? == 0 {
                break;
            }
        }
        rest(stage, false).await?;
        self.audit(stage, report).await
    }

    async fn audit(self, stage: &Stage, report: &mut Report) -> Result<(), String> {
        if self.fault != Fault::F5 {
            // A failover may lose events, and what was taken of the others.
            report.violations.extend(crate::fleet::audit::i9(&stage.db, &stage.hook).await?);
        }
        let audit = Audit {
            db: &stage.db,
            ledger: stage.vendor.ledger(),
            artifacts: &stage.settings.artifacts,
            acknowledged: &stage.acknowledged,
            feed: Some(&stage.feed),
            observer: &stage.observer,
            finds_out: self.class.can_find_out(),
        };
        let findings = audit.run().await?;
        (report.lost, report.billed_twice) = (findings.lost, findings.billed_twice);
        report.violations.extend(findings.violations);
        if self.bucket {
            report.violations.extend(super::bucket::audit(stage).await?);
        }
        let failed = stage.db.rows("select id, code, message from job where state not in (90, 92)").await?;
        if failed.len() > usize::from(self.fault == Fault::F10Reject) {
            report.violations.push(format!("not completed: {failed:?}"));
        }
        // As a client gets it.
        let first = stage.db.rows("select id from job where state = 90 order by id limit 1").await?;
        if let Some(id) = first.first().and_then(|row| row[0].as_deref()).map(crate::fleet::audit::public_id) {
            let (content, video) =
                (stage.client.content(&id).await, stage.client.get(&format!("/v1/videos/{id}")).await);
            let digest =
                content.map(|bytes| longtake_core::artifact::Digest(longtake::http::auth::sha256(&bytes)).to_string());
            let told = video.and_then(|video| video["sha256"].as_str().map(str::to_owned));
            if digest.is_err() || digest.as_ref().ok() != told.as_ref() {
                report.violations.push(format!("I8: {id} is served as {digest:?}, and told as {told:?}"));
            }
        }
        Ok(())
    }
}

/// Waits until nothing is under way; what is held counts as resting where `held` says so.
async fn rest(stage: &Stage, held: bool) -> Result<(), String> {
    crate::fleet::audit::rest(&stage.db, held, stage.cell.class.can_find_out(), REST_BOUND).await
}
