//! The vendor: `longtake-sim` in a process of its own, its books on disk, and the classes of what it offers.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Mutex;

use longtake_testing::sim::{Faults, Ledger, Options, SimulatorProcess};

/// How often the vendor of the class that calls back does so: for longer than anything here is away.
const CALLBACK_TRIES: u32 = 120;

/// What a provider offers for finding out about a lost submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// Nothing: what is in doubt is held for a person.
    None,
    /// A list that shows prompts.
    Lookup,
    /// It calls back, again until somebody takes it; nothing else tells of a lost submission.
    Callback,
    /// It honours idempotency keys.
    Idempotent,
}

impl Class {
    pub const ALL: [Self; 4] = [Self::None, Self::Lookup, Self::Callback, Self::Idempotent];

    /// In tables.
    pub const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Lookup => "lookup",
            Self::Callback => "callback",
            Self::Idempotent => "idempotent",
        }
    }

    /// Whether a lost answer can be found out without a person, whatever became of the submission.
    pub const fn can_find_out(self) -> bool {
        matches!(self, Self::Lookup | Self::Idempotent)
    }

    /// The vendor's options.
    pub fn options(self, duration_ms: u32, faults: Faults) -> Options {
        Options {
            duration_ms,
            callback_tries: if self == Self::Callback { CALLBACK_TRIES } else { 1 },
            idempotency_key: self == Self::Idempotent,
            result_bytes: 200_000,
            faults,
            ..Options::default()
        }
    }

    /// The sections of a config for this vendor at this address; `more` are further lines of the account.
    pub fn config(self, url: &str, settle_ms: u64, more: &str) -> String {
        // Where it calls back, polls are few, and yet soon enough for a test if a call is lost.
        let (first, ceiling) = if self == Self::Callback { (3_000, 3_000) } else { (100, 400) };
        let polls = format!(
            "poll_first_ms = {first}\npoll_ceiling_ms = {ceiling}\nabsence_settle_ms = {settle_ms}\nverify_deadline_ms = 3000"
        );
        let (provider, base, model, offers) = match self {
            Self::Callback => ("minimax", url.to_owned(), "MiniMax-H3", "lookup = \"none\""),
            Self::None => {
                ("openai_compatible", format!("{url}/v1"), "wan", "lookup = \"none\"\nidempotency = \"none\"")
            }
            Self::Lookup => {
                ("openai_compatible", format!("{url}/v1"), "wan", "lookup = \"list_by_prompt\"\nidempotency = \"none\"")
            }
            Self::Idempotent => {
                ("openai_compatible", format!("{url}/v1"), "wan", "lookup = \"none\"\nidempotency = \"key\"")
            }
        };
        format!(
            "[accounts.sim]\nprovider = \"{provider}\"\napi_key = \"test\"\nbase_url = \"{base}\"\n{polls}\n{offers}\n{more}\n\
             [models.sim]\nroutes = [{{ account = \"sim\", model = \"{model}\" }}]\n"
        )
    }
}

/// A running vendor.
pub struct SimVendor {
    process: Mutex<SimulatorProcess>,
    url: String,
}

impl SimVendor {
    pub fn start(dir: &Path, options: Options) -> Self {
        let process = SimulatorProcess::start(options, &dir.join("ledger.jsonl"));
        let url = process.url().to_owned();
        Self { process: Mutex::new(process), url }
    }

    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where it listens.
    pub fn address(&self) -> std::net::SocketAddr {
        self.url.trim_start_matches("http://").parse().unwrap()
    }

    /// Its books.
    pub fn ledger(&self) -> Ledger {
        self.process.lock().unwrap().ledger()
    }

    /// Other faults from now on.
    pub async fn set_faults(&self, faults: &Faults) -> Result<(), String> {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let answer = http.put(format!("{}/_sim/faults", self.url)).json(faults).send().await;
        answer.and_then(reqwest::Response::error_for_status).map(drop).map_err(|error| error.to_string())
    }
}

/// Faults for the first creates only.
pub fn script(faults: impl IntoIterator<Item = longtake_testing::sim::CreateFault>) -> Faults {
    Faults { next_creates: faults.into_iter().collect::<VecDeque<_>>(), ..Faults::default() }
}
