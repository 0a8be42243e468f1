//! What retrieves, lists and deletes have in common: their faults, and what a client is shown of a job.

use super::connection::Connection;
use super::faults::{FaultPlan, PollFault, ProgressReport, draw};
use super::jobs::{Job, Phase, View};
use super::ledger::Vendor;
use super::submit::{Refusal, cut, pause, refused};
use super::{Shared, now_micros};
use axum::response::Response;

/// What the client is shown, which need not be the truth.
#[derive(Debug, Clone)]
pub(crate) struct Shown {
    pub(crate) view: View,
    /// A status word to show instead of the vendor's word for the phase.
    pub(crate) word: Option<String>,
    pub(crate) retry_after_secs: Option<u64>,
}

/// Faults that end a retrieve or list before it looks at any job.
pub(crate) async fn before(shared: &Shared, vendor: Vendor, connection: &Connection) -> Result<PollFault, Response> {
    let (fault, delay, retry_after_secs) = {
        let mut plan = shared.plan.lock().unwrap();
        (plan.next_poll(), plan.faults.poll_delay_ms, plan.faults.retry_after_secs)
    };
    pause(delay).await;
    match fault {
        PollFault::Error => Err(refused(shared, vendor, &Refusal::ServerError)),
        PollFault::RateLimited => Err(refused(shared, vendor, &Refusal::RateLimited { retry_after_secs })),
        PollFault::Drop => Err(cut(connection)),
        fault => Ok(fault),
    }
}

/// The job as a retrieve shows it; `None` when the vendor says it does not exist.
pub(crate) fn find(shared: &Shared, vendor: Vendor, provider_job: &str, fault: PollFault) -> Option<Shown> {
    let now = now_micros();
    let view = {
        let table = shared.table.lock().unwrap();
        let index = table.find(vendor, provider_job)?;
        shared.poll_record.polled(index, now);
        table.at(index).view(now)
    };
    let plan = shared.plan.lock().unwrap();
    if now < view.entry.accepted_at + plan.faults.get_lag_ms * 1000 {
        return None;
    }
    Some(show(&plan, view, fault))
}

fn show(plan: &FaultPlan, mut view: View, fault: PollFault) -> Shown {
    let mut word = None;
    match fault {
        PollFault::UnknownStatus => word = Some(plan.faults.unknown_status_word.clone()),
        PollFault::Backwards => {
            view.phase = match view.phase {
                Phase::Running | Phase::Queued => Phase::Queued,
                _ => Phase::Running,
            };
            view.progress = view.progress.min(10);
        }
        _ => {}
    }
    if view.phase == Phase::Running {
        view.progress = match plan.faults.progress {
            ProgressReport::Honest => view.progress,
            ProgressReport::Zero => 0,
            ProgressReport::NinetyNine => 99,
            ProgressReport::Random => plan.random_progress(),
            ProgressReport::OverHundred => 250,
        };
    }
    Shown { view, word, retry_after_secs: plan.faults.poll_retry_after_secs }
}

/// Which jobs one listing leaves out.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ListFilter {
    now: u64,
    list: u64,
    seed: u64,
    lag_ms: u64,
    gap: f64,
}

impl ListFilter {
    pub(crate) fn next(shared: &Shared) -> Self {
        let mut plan = shared.plan.lock().unwrap();
        let list = plan.next_list();
        let faults = &plan.faults;
        Self { now: now_micros(), list, seed: faults.seed, lag_ms: faults.list_lag_ms, gap: faults.list_gap }
    }

    /// The job as the list shows it, unless it is left out.
    pub(crate) fn view(&self, index: usize, job: &Job) -> Option<View> {
        let young = self.now < job.entry.accepted_at + self.lag_ms * 1000;
        let gap = self.gap > 0.0 && draw(self.seed ^ self.list, "gap", index as u64) < self.gap;
        (!young && !gap).then(|| job.view(self.now))
    }
}

/// Faults of a delete: the answer to give instead of doing it.
pub(crate) enum DeleteFault {
    Error,
    Conflict,
}

/// Asks for the faults of the next delete of this job.
pub(crate) fn delete_fault(shared: &Shared, job: &mut Job) -> Option<DeleteFault> {
    let mut plan = shared.plan.lock().unwrap();
    if plan.next_delete_fails() {
        return Some(DeleteFault::Error);
    }
    job.deletes = job.deletes.saturating_add(1);
    (job.deletes <= plan.faults.delete_conflicts).then_some(DeleteFault::Conflict)
}
