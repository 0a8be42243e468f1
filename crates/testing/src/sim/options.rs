//! What kind of vendor the simulator is. Everything has a default; in JSON only the differences are given.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::faults::Faults;

/// Which server the OpenAI-shaped paths imitate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flavour {
    /// The shape of the official SDKs.
    #[default]
    Openai,
    /// SGLang Diffusion: no prompt in lists, DELETE only forgets, `variant` is an index.
    Sglang,
    /// vLLM-Omni: multipart only, a failed job's GET answers with the error status, DELETE cancels.
    VllmOmni,
}

/// Options of a [`super::Simulator`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Options {
    /// Address to listen on; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// Where the billing ledger stands; without it the ledger is in memory only.
    pub ledger: Option<PathBuf>,
    /// Seed of everything that is drawn: failures, and part of every provider job id.
    pub seed: u64,
    /// Threads of the simulator's own runtime.
    pub worker_threads: usize,
    /// Base URL in result links, when clients come through a proxy. Default: the simulator's own.
    pub public_url: Option<String>,
    /// The only credential that is let in; without it every one is.
    pub api_key: Option<String>,
    /// The only models there are; empty means all that the vendor's rules allow.
    pub models: Vec<String>,
    /// Jobs that may be under way at once; more are refused with 429.
    pub max_in_flight: Option<u32>,
    /// Time from acceptance to the start of work, in milliseconds.
    pub queue_ms: u32,
    /// Time from the start of work to its end, in milliseconds.
    pub duration_ms: u32,
    /// Share of jobs that fail at the end of their work, 0 to 1.
    pub failure_rate: f64,
    /// Failure code of those jobs.
    pub failure_code: String,
    /// Which server the OpenAI-shaped paths imitate.
    pub flavour: Flavour,
    /// Whether the OpenAI-shaped create honours the `Idempotency-Key` header.
    pub idempotency_key: bool,
    /// How long such a key is remembered, in milliseconds. Default: for ever.
    pub idempotency_ttl_ms: Option<u64>,
    /// `seconds` in JSON must have the flavour's own type (string for `openai`, integer for `sglang`) and range.
    pub strict_seconds: bool,
    /// Whether listings of the OpenAI shape show the prompt. Default: as the flavour does.
    pub list_prompt: Option<bool>,
    /// SGLang with cloud storage: the video has a `url`, and `/content` answers 400.
    pub cloud_storage: bool,
    /// Sent as `openai-poll-after-ms` on retrieve.
    pub poll_after_ms: Option<u64>,
    /// MiniMax: let inputs come from `http://` too; the vendor demands `https://`, `mm_file://` or `data:`.
    pub insecure_inputs: bool,
    /// MiniMax: perform the challenge on `callback_url` at create, and call back on each change of status.
    pub callbacks: bool,
    /// How often a callback is sent until somebody takes it. The vendor documents no repetition, so: once.
    pub callback_tries: u32,
    /// Size of each result; rounded up to what a valid file needs.
    pub result_bytes: u64,
    /// How long a result URL is valid after it was handed out, in milliseconds. Default: for ever.
    pub result_url_ttl_ms: Option<u64>,
    /// Faults from the start on.
    pub faults: Faults,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            ledger: None,
            seed: 1,
            worker_threads: 2,
            public_url: None,
            api_key: None,
            models: Vec::new(),
            max_in_flight: None,
            queue_ms: 0,
            duration_ms: 200,
            failure_rate: 0.0,
            failure_code: "internal_error".to_owned(),
            flavour: Flavour::Openai,
            idempotency_key: false,
            idempotency_ttl_ms: None,
            strict_seconds: false,
            list_prompt: None,
            cloud_storage: false,
            poll_after_ms: None,
            insecure_inputs: false,
            callbacks: true,
            callback_tries: 1,
            result_bytes: 64 * 1024,
            result_url_ttl_ms: None,
            faults: Faults::default(),
        }
    }
}

/// Orders to the simulator inside a prompt: `[sim fail=1027 duration_ms=500]`.
///
/// They let one test drive single jobs while others share the same simulator.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct PromptOrders {
    /// Refuse the create with this code (an HTTP status, or a MiniMax code).
    pub error: Option<String>,
    /// Accept, and fail at the end with this code.
    pub fail: Option<String>,
    /// Instead of the option of the same name.
    pub queue_ms: Option<u32>,
    /// Instead of the option of the same name.
    pub duration_ms: Option<u32>,
    /// Instead of the option of the same name.
    pub result_bytes: Option<u64>,
    /// A create fault by name, for the first `times` creates with this prompt.
    pub create: Option<String>,
    /// How often `create` (and `error`) strikes: default 1 for `create`, always for `error`.
    pub times: Option<u32>,
}

impl PromptOrders {
    /// Reads the orders of a prompt; unknown words are ignored, as a prompt is free text.
    pub(crate) fn parse(prompt: &str) -> Self {
        let mut orders = Self::default();
        let Some((_, rest)) = prompt.split_once("[sim ") else { return orders };
        let Some((inside, _)) = rest.split_once(']') else { return orders };
        for (key, value) in inside.split_ascii_whitespace().filter_map(|word| word.split_once('=')) {
            match key {
                "error" => orders.error = Some(value.to_owned()),
                "fail" => orders.fail = Some(value.to_owned()),
                "queue_ms" => orders.queue_ms = value.parse().ok(),
                "duration_ms" => orders.duration_ms = value.parse().ok(),
                "result_bytes" => orders.result_bytes = value.parse().ok(),
                "create" => orders.create = Some(value.to_owned()),
                "times" => orders.times = value.parse().ok(),
                _ => {}
            }
        }
        orders
    }
}
