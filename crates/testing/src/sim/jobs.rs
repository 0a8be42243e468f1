//! The vendor's jobs: a compact table, and what each one looks like at a moment.
//!
//! No task and no timer per job: [`Job::view`] computes status and progress from the clock and the time of
//! acceptance, so 100,000 jobs cost memory only. The table writes its ledger line before it says yes.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::ledger::{Ending, Entry, LedgerFile, Line, Vendor};

/// What a job is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Queued,
    Running,
    Completed,
    Failed,
    Canceled,
}

/// One accepted create.
#[derive(Debug)]
pub(crate) struct Job {
    pub(crate) entry: Arc<Entry>,
    /// How and when a client ended it, in microseconds.
    pub(crate) ended: Option<(Ending, u64)>,
    pub(crate) fetches: u32,
    pub(crate) deletes: u32,
}

/// A job at one moment.
#[derive(Debug, Clone)]
pub(crate) struct View {
    pub(crate) entry: Arc<Entry>,
    pub(crate) phase: Phase,
    /// 0 to 100.
    pub(crate) progress: u32,
    /// When the status last changed, in microseconds.
    pub(crate) changed_at: u64,
}

impl Job {
    pub(crate) fn is_billed(&self) -> bool {
        !matches!(self.ended, Some((Ending::Canceled, _)))
    }

    /// Whether the API still shows it.
    fn is_visible(&self) -> bool {
        match self.ended {
            None => true,
            // MiniMax keeps canceled jobs; the OpenAI shape has no such status and shows nothing.
            Some((Ending::Canceled, _)) => self.entry.vendor == Vendor::MinimaxV2,
            Some((Ending::Stopped | Ending::Deleted, _)) => false,
        }
    }

    pub(crate) fn view(&self, now: u64) -> View {
        let entry = &self.entry;
        let starts = entry.accepted_at + u64::from(entry.queue_ms) * 1000;
        let ends = starts + u64::from(entry.duration_ms) * 1000;
        let (phase, progress, changed_at) = if let Some((Ending::Canceled, at)) = self.ended {
            (Phase::Canceled, 0, at)
        } else if now >= ends {
            let phase = if entry.fails.is_some() { Phase::Failed } else { Phase::Completed };
            (phase, 100, ends)
        } else if now >= starts {
            let share = (now - starts) * 100 / (ends - starts).max(1);
            (Phase::Running, (share as u32).min(99), starts)
        } else {
            (Phase::Queued, 0, entry.accepted_at)
        };
        View { entry: Arc::clone(entry), phase, progress, changed_at }
    }
}

/// Why a create was not accepted as a new job.
#[derive(Debug)]
pub(crate) enum Accepted {
    New(View),
    /// The idempotency key is known, with the same request.
    Same(View),
    /// The idempotency key is known, with another request.
    KeyConflict,
    TooManyInFlight,
}

/// Limits that hold while a create is accepted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AcceptRules {
    pub(crate) honour_key: bool,
    pub(crate) key_ttl_ms: Option<u64>,
    pub(crate) max_in_flight: Option<u32>,
}

/// All jobs, in the order of acceptance.
#[derive(Debug, Default)]
pub(crate) struct JobTable {
    jobs: Vec<Job>,
    keys: HashMap<(Vendor, String), usize>,
    /// Jobs that may still be under way; only kept up while there is a limit on them.
    live: Vec<usize>,
    /// Jobs below this index have vanished from the API.
    forgotten: usize,
    seed: u64,
    file: Option<LedgerFile>,
}

impl JobTable {
    /// Opens the table on its ledger file, with the jobs that are already in it.
    pub(crate) fn open(seed: u64, ledger: Option<&Path>) -> io::Result<Self> {
        let mut table = Self { seed, ..Self::default() };
        if let Some(path) = ledger {
            let (file, content) = LedgerFile::open(path)?;
            table.replay(&content)?;
            table.file = Some(file);
        }
        Ok(table)
    }

    /// Applies the complete lines of a ledger file.
    pub(crate) fn replay(&mut self, content: &[u8]) -> io::Result<()> {
        let complete = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        for line in content[..complete].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice(line).map_err(io::Error::other)? {
                Line::Accepted(entry) => {
                    self.live.push(self.jobs.len());
                    self.push(Arc::from(entry));
                }
                Line::Ended { provider_job, ending, at, .. } => {
                    if let Some(job) = self.index_of(&provider_job).and_then(|index| self.jobs.get_mut(index)) {
                        job.ended = Some((ending, at));
                    }
                }
                Line::Forgotten { jobs, .. } => self.forgotten = jobs,
            }
        }
        Ok(())
    }

    fn push(&mut self, entry: Arc<Entry>) {
        if let Some(key) = &entry.idempotency_key {
            self.keys.insert((entry.vendor, key.clone()), self.jobs.len());
        }
        self.jobs.push(Job { entry, ended: None, fetches: 0, deletes: 0 });
    }

    pub(crate) fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    fn append(&mut self, line: &Line) {
        if let Some(file) = &mut self.file {
            file.append(line);
        }
    }

    /// Accepts and bills a create; `entry.provider_job` is filled in here. The ledger has it on return.
    pub(crate) fn accept(&mut self, mut entry: Entry, rules: AcceptRules) -> Accepted {
        let now = entry.accepted_at;
        if rules.honour_key
            && let Some(key) = &entry.idempotency_key
            && let Some(known) = self.keys.get(&(entry.vendor, key.clone())).map(|index| &self.jobs[*index])
            && rules.key_ttl_ms.is_none_or(|ttl| now.saturating_sub(known.entry.accepted_at) < ttl * 1000)
        {
            let same = known.entry.request_hash == entry.request_hash;
            return if same { Accepted::Same(known.view(now)) } else { Accepted::KeyConflict };
        }
        if let Some(limit) = rules.max_in_flight {
            self.live.retain(|index| {
                let job = &self.jobs[*index];
                let under_way = matches!(job.view(now).phase, Phase::Queued | Phase::Running);
                under_way && !matches!(job.ended, Some((Ending::Canceled | Ending::Stopped, _)))
            });
            if self.live.len() >= limit as usize {
                return Accepted::TooManyInFlight;
            }
            self.live.push(self.jobs.len());
        }
        entry.provider_job = self.new_id(&entry);
        self.append_accepted(&entry);
        let entry = Arc::new(entry);
        self.push(Arc::clone(&entry));
        Accepted::New(self.jobs[self.jobs.len() - 1].view(now))
    }

    fn append_accepted(&mut self, entry: &Entry) {
        if self.file.is_some() {
            self.append(&Line::Accepted(Box::new(entry.clone())));
        }
    }

    /// Ids end with the job's index, so that a look-up needs no map; the seed keeps simulators apart.
    fn new_id(&self, entry: &Entry) -> String {
        let index = self.jobs.len();
        match entry.vendor {
            Vendor::OpenaiCompatible => format!("video_{:04x}{index:010x}", self.seed & 0xffff),
            Vendor::MinimaxV2 => format!("2{:04}{index:013}", self.seed % 10_000),
            Vendor::MinimaxV1 => format!("1{:04}{index:013}", self.seed % 10_000),
        }
    }

    fn index_of(&self, provider_job: &str) -> Option<usize> {
        let index = match provider_job.strip_prefix("video_") {
            Some(rest) => usize::from_str_radix(rest.get(4..)?, 16).ok()?,
            None => provider_job.get(5..)?.parse().ok()?,
        };
        (self.jobs.get(index)?.entry.provider_job == provider_job).then_some(index)
    }

    /// The index of a job that the API shows; also its place in lists.
    pub(crate) fn find(&self, vendor: Vendor, provider_job: &str) -> Option<usize> {
        let index = self.index_of(provider_job)?;
        let job = &self.jobs[index];
        (index >= self.forgotten && job.entry.vendor == vendor && job.is_visible()).then_some(index)
    }

    pub(crate) fn at(&self, index: usize) -> &Job {
        &self.jobs[index]
    }

    pub(crate) fn at_mut(&mut self, index: usize) -> &mut Job {
        &mut self.jobs[index]
    }

    /// The jobs of a vendor that the API shows, oldest first, with their indexes.
    pub(crate) fn shown(&self, vendor: Vendor) -> impl DoubleEndedIterator<Item = (usize, &Job)> {
        let shown = move |(_, job): &(usize, &Job)| job.entry.vendor == vendor && job.is_visible();
        self.jobs.iter().enumerate().skip(self.forgotten).filter(shown)
    }

    /// Ends a job on a client's call, in the ledger too.
    pub(crate) fn end(&mut self, index: usize, ending: Ending, now: u64) {
        let job = &mut self.jobs[index];
        job.ended = Some((ending, now));
        let billed_usd = if job.is_billed() { job.entry.billed_usd } else { 0.0 };
        let provider_job = job.entry.provider_job.clone();
        self.append(&Line::Ended { provider_job, ending, at: now, billed_usd });
    }

    /// Every job so far vanishes from the API; its bill stays.
    pub(crate) fn forget_all(&mut self, now: u64) {
        self.forgotten = self.jobs.len();
        let jobs = self.forgotten;
        self.append(&Line::Forgotten { jobs, at: now });
    }
}
