//! The billing ledger: what the vendor will charge for, whether or not its answer ever arrived.
//!
//! One JSON line per fact, appended before the create is answered; a restarted simulator reads its jobs back.
//! [`Ledger`] is a view that stays valid while the simulator goes on, and also reads the file of a simulator in
//! another process. Absent: fsync; a test that cuts the power cuts it for the gateway, not for the vendor.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::jobs::{Job, JobTable};

/// Whose wire a job came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vendor {
    /// `/v1/videos`
    OpenaiCompatible,
    /// `/v2/video_generation`
    MinimaxV2,
    /// `/v1/video_generation`
    MinimaxV1,
}

/// An accepted create.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The vendor's id of the job.
    pub provider_job: String,
    /// Whose wire it came through.
    pub vendor: Vendor,
    /// Model as asked for, or the vendor's default.
    pub model: String,
    /// The prompt, whole.
    pub prompt: String,
    /// Length of the video.
    pub seconds: u32,
    /// Size or resolution, in the vendor's words.
    pub size: String,
    /// Aspect ratio where the vendor has a field for it, else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub ratio: String,
    /// The `Idempotency-Key` header, whether or not it is honoured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// The caller's own name for the attempt, from a header or a metadata field.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ref: Option<String>,
    /// Where the vendor is to call back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<String>,
    /// The video this one is a remix of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remix_of: Option<String>,
    /// Digest of the decoded fields; equal for an honest repeat.
    pub request_hash: u64,
    /// When it was accepted, in microseconds since the Unix epoch.
    pub accepted_at: u64,
    /// Time from acceptance to the start of work.
    pub queue_ms: u32,
    /// Time from the start of work to its end.
    pub duration_ms: u32,
    /// The failure code it ends with; without one it completes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails: Option<String>,
    /// Size of its result, when the prompt ordered one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_bytes: Option<u64>,
    /// What it costs, in US dollars.
    pub billed_usd: f64,
}

/// How a job ended other than by its own clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// Canceled before its work began: not charged.
    Canceled,
    /// Stopped while at work: charged.
    Stopped,
    /// Its record was removed: charged, and the work goes on unseen if it was not done.
    Deleted,
}

/// One line of the ledger file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "line", rename_all = "snake_case")]
pub(crate) enum Line {
    /// A create was accepted.
    Accepted(Box<Entry>),
    /// A job ended by a call of the client.
    Ended { provider_job: String, ending: Ending, at: u64, billed_usd: f64 },
    /// Every job so far vanished from the API.
    Forgotten { jobs: usize, at: u64 },
}

/// The ledger of one simulator, live or read from its file.
#[derive(Debug, Clone)]
pub struct Ledger {
    table: Arc<Mutex<JobTable>>,
}

impl Ledger {
    pub(crate) fn of(table: Arc<Mutex<JobTable>>) -> Self {
        Self { table }
    }

    /// Reads the ledger file of a simulator that may be running in another process.
    ///
    /// # Errors
    /// When the file cannot be read, or a complete line in it is not a ledger line.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut table = JobTable::default();
        table.replay(&std::fs::read(path)?)?;
        Ok(Self::of(Arc::new(Mutex::new(table))))
    }

    /// Number of creates that are charged for.
    #[must_use]
    pub fn billed(&self) -> usize {
        self.count(Job::is_billed)
    }

    /// The bill, in US dollars.
    #[must_use]
    pub fn billed_usd(&self) -> f64 {
        let table = self.table.lock().unwrap();
        table.jobs().iter().filter(|job| job.is_billed()).map(|job| job.entry.billed_usd).sum()
    }

    /// Number of creates that were accepted, charged or not.
    #[must_use]
    pub fn accepted(&self) -> usize {
        self.count(|_| true)
    }

    /// How many charged jobs each prompt has: more than one is a double purchase.
    #[must_use]
    pub fn by_prompt(&self) -> BTreeMap<String, usize> {
        let table = self.table.lock().unwrap();
        let mut counts = BTreeMap::new();
        for job in table.jobs().iter().filter(|job| job.is_billed()) {
            *counts.entry(job.entry.prompt.clone()).or_insert(0) += 1;
        }
        counts
    }

    /// The prompts that were charged more than once, with their counts.
    #[must_use]
    pub fn bought_twice(&self) -> BTreeMap<String, usize> {
        self.by_prompt().into_iter().filter(|(_, count)| *count > 1).collect()
    }

    /// Every accepted create, in the order of acceptance.
    #[must_use]
    pub fn jobs(&self) -> Vec<Arc<Entry>> {
        self.table.lock().unwrap().jobs().iter().map(|job| Arc::clone(&job.entry)).collect()
    }

    /// How a job was ended by a client, if it was.
    #[must_use]
    pub fn ending(&self, provider_job: &str) -> Option<Ending> {
        let table = self.table.lock().unwrap();
        table.jobs().iter().find(|job| job.entry.provider_job == provider_job)?.ended.map(|(ending, _)| ending)
    }

    fn count(&self, matches: impl Fn(&Job) -> bool) -> usize {
        self.table.lock().unwrap().jobs().iter().filter(|job| matches(job)).count()
    }
}

/// The open ledger file.
#[derive(Debug)]
pub(crate) struct LedgerFile {
    file: File,
}

impl LedgerFile {
    /// Opens or makes the file and returns its complete lines; a torn last line was never answered and is cut off.
    pub(crate) fn open(path: &Path) -> io::Result<(Self, Vec<u8>)> {
        let mut file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        let complete = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        content.truncate(complete);
        file.set_len(complete as u64)?;
        file.seek(SeekFrom::End(0))?;
        Ok((Self { file }, content))
    }

    /// Appends one line with one write, so that a killed simulator leaves at most one torn line.
    pub(crate) fn append(&mut self, line: &Line) {
        let mut bytes = serde_json::to_vec(line).expect("a ledger line can be written as JSON");
        bytes.push(b'\n');
        self.file.write_all(&bytes).expect("the ledger file can be written");
    }
}
