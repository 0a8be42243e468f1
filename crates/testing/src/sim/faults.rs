//! What goes wrong, and when: rates drawn from a seed and a request count, and exact scripts for creates.
//!
//! The same faults, the same seed and the same order of requests give the same misbehaviour. The vendors' files
//! ask [`FaultPlan`] at each request. Absent: faults of the network between; those are the proxy's.

use std::collections::{HashMap, VecDeque};

use serde::{Deserialize, Serialize};

use super::options::PromptOrders;

/// What can happen to one create.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreateFault {
    /// Nothing goes wrong; a place holder in a script.
    Pass,
    /// Accepted and billed, then the connection is reset without an answer.
    DropAfterAccept,
    /// The connection is reset without an answer, and nothing was accepted.
    DropBeforeAccept,
    /// Accepted and billed, but the answer is 500.
    ErrorAfterAccept,
    /// The answer is 500, and nothing was accepted.
    ErrorBeforeAccept,
    /// Accepted and billed, but the answer is 200 with a body that no client can read.
    Garbage,
    /// A definite reject: 400 in the vendor's own shape.
    Reject,
    /// 429 with `Retry-After`.
    RateLimited,
    /// 529: overloaded.
    Overloaded,
}

impl CreateFault {
    const DRAWN: [Self; 8] = [
        Self::DropAfterAccept,
        Self::DropBeforeAccept,
        Self::ErrorAfterAccept,
        Self::ErrorBeforeAccept,
        Self::Garbage,
        Self::Reject,
        Self::RateLimited,
        Self::Overloaded,
    ];

    fn from_name(name: &str) -> Option<Self> {
        serde_json::from_value(serde_json::Value::String(name.to_owned())).ok()
    }
}

/// How progress is misreported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProgressReport {
    /// As it is.
    #[default]
    Honest,
    /// 0 until the end, as many servers do.
    Zero,
    /// 99 from the start.
    NinetyNine,
    /// Jumps up and down.
    Random,
    /// A number that cannot be: 250.
    OverHundred,
}

/// The faults of a simulator. All rates are shares from 0 to 1; the default is no fault.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Seed of all rates below.
    pub seed: u64,
    /// What happens to the next creates, one each, before any rate is asked.
    pub next_creates: VecDeque<CreateFault>,
    /// Rate of [`CreateFault::DropAfterAccept`].
    pub drop_after_accept: f64,
    /// Rate of [`CreateFault::DropBeforeAccept`].
    pub drop_before_accept: f64,
    /// Rate of [`CreateFault::ErrorAfterAccept`].
    pub error_after_accept: f64,
    /// Rate of [`CreateFault::ErrorBeforeAccept`].
    pub error_before_accept: f64,
    /// Rate of [`CreateFault::Garbage`].
    pub garbage: f64,
    /// Rate of [`CreateFault::Reject`].
    pub reject: f64,
    /// Rate of [`CreateFault::RateLimited`].
    pub rate_limited: f64,
    /// Rate of [`CreateFault::Overloaded`].
    pub overloaded: f64,
    /// `Retry-After` of every 429, in seconds.
    pub retry_after_secs: Option<u64>,
    /// Pause between reading a create and accepting it; it is accepted even if the client has gone.
    pub accept_delay_ms: u64,
    /// Pause between accepting a create and answering it.
    pub answer_delay_ms: u64,
    /// Pause before the answer to a retrieve, list or delete.
    pub poll_delay_ms: u64,
    /// Rate of retrieves and lists that answer 500.
    pub poll_error: f64,
    /// Rate of retrieves and lists that answer 429.
    pub poll_rate_limited: f64,
    /// Rate of retrieves and lists whose connection is reset.
    pub poll_drop: f64,
    /// `Retry-After` on every good retrieve, in seconds.
    pub poll_retry_after_secs: Option<u64>,
    /// Rate of retrieves that show `unknown_status_word`.
    pub unknown_status: f64,
    /// The status word that no client knows.
    pub unknown_status_word: String,
    /// Rate of retrieves that show the status before the true one.
    pub status_backwards: f64,
    /// How progress is reported.
    pub progress: ProgressReport,
    /// A job cannot be retrieved before this age.
    pub get_lag_ms: u64,
    /// A job is missing in lists before this age.
    pub list_lag_ms: u64,
    /// Rate of jobs left out of a list, drawn per job and list.
    pub list_gap: f64,
    /// Draw `list_gap` per job only: a job left out once is left out always.
    pub list_gap_sticky: bool,
    /// Rate of deletes that answer 500 and do nothing.
    pub delete_error: f64,
    /// The first deletes of each job answer 409 and do nothing.
    pub delete_conflicts: u32,
    /// Once, when these faults are set: all jobs so far vanish, as after a vendor's restart. The ledger stays.
    pub forget: bool,
    /// The first fetches of each result answer `result_stale_status`.
    pub result_stale_fetches: u32,
    /// Status of a stale result URL.
    pub result_stale_status: u16,
    /// Rate of results that end early, with the full `Content-Length`.
    pub result_truncated: f64,
    /// Rate of results that are an HTML page with status 200.
    pub result_html: f64,
    /// Rate of result fetches that answer 500.
    pub result_error: f64,
    /// Results come no faster than this.
    pub result_bytes_per_second: Option<u64>,
    /// Rate of callbacks that are never sent.
    pub callback_lost: f64,
    /// How often each callback is sent.
    pub callback_copies: u32,
    /// Callbacks of one round come in reverse order.
    pub callback_reversed: bool,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            seed: 1,
            next_creates: VecDeque::new(),
            drop_after_accept: 0.0,
            drop_before_accept: 0.0,
            error_after_accept: 0.0,
            error_before_accept: 0.0,
            garbage: 0.0,
            reject: 0.0,
            rate_limited: 0.0,
            overloaded: 0.0,
            retry_after_secs: Some(1),
            accept_delay_ms: 0,
            answer_delay_ms: 0,
            poll_delay_ms: 0,
            poll_error: 0.0,
            poll_rate_limited: 0.0,
            poll_drop: 0.0,
            poll_retry_after_secs: None,
            unknown_status: 0.0,
            unknown_status_word: "defragmenting".to_owned(),
            status_backwards: 0.0,
            progress: ProgressReport::Honest,
            get_lag_ms: 0,
            list_lag_ms: 0,
            list_gap: 0.0,
            list_gap_sticky: false,
            delete_error: 0.0,
            delete_conflicts: 0,
            forget: false,
            result_stale_fetches: 0,
            result_stale_status: 403,
            result_truncated: 0.0,
            result_html: 0.0,
            result_error: 0.0,
            result_bytes_per_second: None,
            callback_lost: 0.0,
            callback_copies: 1,
            callback_reversed: false,
        }
    }
}

impl Faults {
    /// No fault but these, in this order, one for each of the next creates.
    #[must_use]
    pub fn script(faults: impl IntoIterator<Item = CreateFault>) -> Self {
        Self { next_creates: faults.into_iter().collect(), ..Self::default() }
    }

    /// No fault but `fault` for the next `times` creates.
    #[must_use]
    pub fn next(fault: CreateFault, times: usize) -> Self {
        Self::script(std::iter::repeat_n(fault, times))
    }

    fn create_rate(&self, fault: CreateFault) -> f64 {
        match fault {
            CreateFault::Pass => 0.0,
            CreateFault::DropAfterAccept => self.drop_after_accept,
            CreateFault::DropBeforeAccept => self.drop_before_accept,
            CreateFault::ErrorAfterAccept => self.error_after_accept,
            CreateFault::ErrorBeforeAccept => self.error_before_accept,
            CreateFault::Garbage => self.garbage,
            CreateFault::Reject => self.reject,
            CreateFault::RateLimited => self.rate_limited,
            CreateFault::Overloaded => self.overloaded,
        }
    }
}

/// What happens to one retrieve, list or delete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PollFault {
    Pass,
    Error,
    RateLimited,
    Drop,
    UnknownStatus,
    Backwards,
}

/// What happens to one fetch of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ResultFault {
    Pass,
    Error,
    Html,
    Truncated,
}

/// The faults in force, and how many requests of each kind they have met.
#[derive(Debug, Default)]
pub(crate) struct FaultPlan {
    pub(crate) faults: Faults,
    creates: u64,
    polls: u64,
    deletes: u64,
    lists: u64,
    results: u64,
    callbacks: u64,
    ordered: HashMap<u64, u32>,
}

impl FaultPlan {
    pub(crate) fn new(faults: Faults) -> Self {
        Self { faults, ..Self::default() }
    }

    /// The fate of the next create. Orders in its prompt come before the script, the script before the rates.
    pub(crate) fn next_create(&mut self, prompt: &str, orders: &PromptOrders) -> CreateFault {
        if let Some(fault) = orders.create.as_deref().and_then(CreateFault::from_name)
            && self.strikes(prompt, orders.times.unwrap_or(1))
        {
            return fault;
        }
        if let Some(fault) = self.faults.next_creates.pop_front() {
            return fault;
        }
        self.creates += 1;
        let drawn = draw(self.faults.seed, "create", self.creates);
        let mut reached = 0.0;
        for fault in CreateFault::DRAWN {
            reached += self.faults.create_rate(fault);
            if drawn < reached {
                return fault;
            }
        }
        CreateFault::Pass
    }

    /// Counts a create with orders; true for the first `times` of a prompt.
    pub(crate) fn strikes(&mut self, prompt: &str, times: u32) -> bool {
        let seen = self.ordered.entry(hash(prompt.as_bytes())).or_insert(0);
        *seen = seen.saturating_add(1);
        *seen <= times
    }

    pub(crate) fn next_poll(&mut self) -> PollFault {
        self.polls += 1;
        let faults = &self.faults;
        let rates = [
            (faults.poll_error, PollFault::Error),
            (faults.poll_rate_limited, PollFault::RateLimited),
            (faults.poll_drop, PollFault::Drop),
            (faults.unknown_status, PollFault::UnknownStatus),
            (faults.status_backwards, PollFault::Backwards),
        ];
        choose(draw(faults.seed, "poll", self.polls), &rates).unwrap_or(PollFault::Pass)
    }

    /// The number of the next list, to draw its gaps from; 0 for sticky gaps.
    pub(crate) fn next_list(&mut self) -> u64 {
        self.lists += 1;
        if self.faults.list_gap_sticky { 0 } else { self.lists }
    }

    pub(crate) fn next_delete_fails(&mut self) -> bool {
        self.deletes += 1;
        draw(self.faults.seed, "delete", self.deletes) < self.faults.delete_error
    }

    pub(crate) fn next_result(&mut self) -> ResultFault {
        self.results += 1;
        let faults = &self.faults;
        let rates = [
            (faults.result_error, ResultFault::Error),
            (faults.result_html, ResultFault::Html),
            (faults.result_truncated, ResultFault::Truncated),
        ];
        choose(draw(faults.seed, "result", self.results), &rates).unwrap_or(ResultFault::Pass)
    }

    /// How often the next callback is sent.
    pub(crate) fn next_callback_copies(&mut self) -> u32 {
        self.callbacks += 1;
        let lost = draw(self.faults.seed, "callback", self.callbacks) < self.faults.callback_lost;
        if lost { 0 } else { self.faults.callback_copies }
    }

    /// A progress from 0 to 100 that has nothing to do with the job.
    pub(crate) fn random_progress(&self) -> u32 {
        (hash(&self.polls.to_le_bytes()) % 101) as u32
    }
}

fn choose<T: Copy>(drawn: f64, rates: &[(f64, T)]) -> Option<T> {
    let mut reached = 0.0;
    rates.iter().find_map(|&(rate, fault)| {
        reached += rate;
        (drawn < reached).then_some(fault)
    })
}

/// A number in 0..1 that depends only on seed, kind and count.
pub(crate) fn draw(seed: u64, kind: &str, count: u64) -> f64 {
    let mixed = mix(seed ^ mix(hash(kind.as_bytes()) ^ mix(count)));
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

/// FNV-1a: stable between processes and versions, unlike the standard hasher.
pub(crate) fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The finalizer of SplitMix64.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
