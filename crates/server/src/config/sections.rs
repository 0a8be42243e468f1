//! Every setting with its meaning, unit, default and bounds. The documentation is made from this file.

use std::net::SocketAddr;
use std::path::PathBuf;

use longtake_engine::{EngineConfig, OnUnknown, WebhookConfig};
use longtake_store::PostgresTuning;
use toml::Table;

use super::ConfigError;
use super::layers::Layers;
use super::public_url::PublicUrl;
use super::read::{Reader, Setting, words};
use super::retention::Kept;
use super::secret::Secret;
use super::storage::{Serve, ServerSideEncryption};
use crate::http::limits::Limits;
use crate::http::network::Network;

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Serves the API and drives jobs.
    All,
    /// Serves the API only.
    Api,
    /// Drives jobs only.
    Worker,
}

impl Role {
    /// As it stands in the config.
    pub const fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Api => "api",
            Self::Worker => "worker",
        }
    }
}

/// What a failover of the database can lose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failover {
    /// The newest commits.
    Asynchronous,
    /// Nothing acknowledged.
    Synchronous,
}

words! { Failover: "\"asynchronous\" or \"synchronous\"" { "asynchronous" => Failover::Asynchronous, "synchronous" => Failover::Synchronous } }

words! { Role: "\"all\", \"api\" or \"worker\"" { "all" => Role::All, "api" => Role::Api, "worker" => Role::Worker } }

words! {
    OnUnknown: "\"hold\", \"fail\" or \"resubmit\"" {
        "hold" => OnUnknown::Hold, "fail" => OnUnknown::Fail, "resubmit" => OnUnknown::Resubmit,
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

words! { LogFormat: "\"text\" or \"json\"" { "text" => LogFormat::Text, "json" => LogFormat::Json } }

/// One setting, for the documentation.
#[derive(Debug, Clone)]
pub struct Field {
    /// Its key.
    pub name: &'static str,
    /// What it means, line by line.
    pub docs: &'static [&'static str],
    /// What kind of value it takes.
    pub kind: &'static str,
    /// Its default as TOML; `None` where it is not set.
    pub default: Option<String>,
    /// Its bounds.
    pub range: Option<(u64, u64)>,
}

/// One section of the file.
pub trait Section: Sized + Default {
    /// Its name; empty for what stands before any section.
    const NAME: &'static str;
    /// What it is about.
    const DOCS: &'static [&'static str];

    /// Its settings.
    fn fields() -> Vec<Field>;

    /// Reads it.
    ///
    /// # Errors
    /// The first key that is unknown or wrong.
    fn read(layers: &Layers, table: Table) -> Result<Self, ConfigError>;
}

macro_rules! section {
    ($(#[doc = $doc:literal])* $name:ident($table:literal) {
        $($(#[doc = $field_doc:literal])* $field:ident: $type:ty = $default:expr $(, $range:expr)?;)*
    }) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub struct $name { $($(#[doc = $field_doc])* pub $field: $type,)* }

        impl Default for $name {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl Section for $name {
            const NAME: &'static str = $table;
            const DOCS: &'static [&'static str] = &[$($doc),*];

            fn fields() -> Vec<Field> {
                let default = Self::default();
                vec![$(Field {
                    name: stringify!($field),
                    docs: &[$($field_doc),*],
                    kind: <$type as Setting>::KIND,
                    default: default.$field.show(),
                    range: { let range: &[std::ops::RangeInclusive<u64>] = &[$($range)?]; range.first().map(|range| (*range.start(), *range.end())) },
                }),*]
            }

            fn read(layers: &Layers, table: Table) -> Result<Self, ConfigError> {
                let path = if $table.is_empty() { Vec::new() } else { vec![$table.to_owned()] };
                let mut reader = Reader::new(layers, path, table);
                let default = Self::default();
                let section = Self {
                    $($field: reader.take(stringify!($field), default.$field, {
                        let range: &[std::ops::RangeInclusive<u64>] = &[$($range)?];
                        range.first().cloned()
                    })?,)*
                };
                reader.finish(&Self::fields().iter().map(|field| field.name).collect::<Vec<_>>())?;
                Ok(section)
            }
        }
    };
}

/// Seconds in ten years: longer is a mistake.
const LONG_SECS: u64 = 315_360_000;
/// A pebibyte: more is a mistake.
const MANY_BYTES: u64 = 1 << 50;

section! {
    /// What stands before any section has plain variables, such as `LONGTAKE_DATA_DIR`, and mostly flags, such as `--data-dir`.
    General("") {
        /// Where this machine keeps everything: database, videos, keys. Made at first start. One process at a time, but for
        /// those that share a PostgreSQL database.
        data_dir: PathBuf = PathBuf::from("./longtake-data");
        /// Address and port of the server. Port 0 takes any free one.
        listen: SocketAddr = ([127, 0, 0, 1], 7373).into();
        /// This server's address as the outside sees it: `https`, or `http` on a loopback address. With it, providers that
        /// can call back do, below `/callbacks/`, which must reach a process with role `all` or `api`. Without it, jobs are polled.
        public_url: Option<PublicUrl> = None;
        /// What this process does: `all`, or with PostgreSQL `api` or `worker`.
        role: Role = Role::All;
        /// Where videos are kept: `file:DIR`, or in a bucket (`[storage]`): `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX`,
        /// `az://CONTAINER/PREFIX`. Default: `artifacts` in the data directory.
        artifacts: Option<String> = None;
        /// The admin key, at least 16 characters. Default: made at first start and written to `admin.key` in the data directory.
        admin_key: Option<Secret> = None;
        /// Signs what leaves us, such as our names for attempts: 64 hex digits, or any text of at least 32 characters.
        /// Default: made at first start and written to `secret.key` in the data directory. Several machines must share it.
        secret_key: Option<Secret> = None;
    }
}

section! {
    /// Where rows are kept. `database = "URL"` alone is understood too.
    DatabaseConfig("database") {
        /// `sqlite:PATH`, or `postgres://USER@HOST/NAME` for many machines; a secret, since it may hold a password: its text, `env:NAME` or `file:PATH`.
        /// Default: `longtake.db` in the data directory.
        url: Option<Secret> = None;
        /// Connections of this process to PostgreSQL, at most; one more hears of new work.
        pool_size: u32 = 10, 2..=1_000;
        /// How long a call waits for one of them, or for a server that restarts or fails over, in seconds.
        acquire_timeout_secs: u64 = PostgresTuning::default().acquire_timeout.as_secs(), 1..=600;
        /// What a failover of PostgreSQL can lose. `asynchronous`: the newest commits, so jobs queued before it are found out
        /// before they are submitted. `synchronous`: nothing acknowledged; say so only where a standby confirms every commit.
        failover: Failover = Failover::Asynchronous;
    }
}

section! {
    /// The bucket that `artifacts` names, and how bytes get from there to clients. Keys that are not set come from the
    /// environment of the cloud, as its own programs read it (`AWS_…`, `GOOGLE_…`, `AZURE_…`, the role of the machine).
    StorageConfig("storage") {
        /// URL of the service, where it is not the cloud's own: `https://s3.example.com`.
        endpoint: Option<String> = None;
        /// S3: region of the bucket. Default: the environment's, else `us-east-1`.
        region: Option<String> = None;
        /// S3: id of the access key. Azure: name of the storage account.
        access_key_id: Option<Secret> = None;
        /// S3: secret of the access key. Azure: key of the storage account. Google: key of a service account, as JSON.
        secret_access_key: Option<Secret> = None;
        /// Whether `endpoint` may be plain `http`.
        allow_http: bool = false;
        /// S3: the bucket's name is the first part of the host name, not of the path.
        virtual_hosted_style: bool = false;
        /// S3: how each object is encrypted: `aes256`, or `aws:kms`. Default: as the bucket says.
        server_side_encryption: Option<ServerSideEncryption> = None;
        /// S3: the key for `aws:kms`. Default: the account's.
        kms_key_id: Option<String> = None;
        /// How a video gets to who asks for its content: `through` this process, or by `redirect` to the bucket.
        serve: Serve = Serve::Through;
        /// How long the link of a redirect can be followed, in seconds. A download that has begun goes on.
        redirect_valid_secs: u64 = 900, 1..=604_800;
        /// Redirects lead to this URL, a slash and the key, unsigned: a CDN or a web server before the bucket's prefix, or
        /// before the folder. Whoever knows such a link has the video for as long as it is there.
        public_base_url: Option<PublicUrl> = None;
    }
}

section! {
    /// The front door: connections and time limits.
    ServerConfig("server") {
        /// Connections at once; more wait in the kernel's queue.
        max_connections: usize = Limits::default().max_connections, 1..=1_000_000;
        /// Requests being handled at once; more get 503.
        max_requests: usize = Limits::default().max_requests, 1..=1_000_000;
        /// Event streams and WebSockets at once; more get 503.
        max_event_streams: usize = Limits::default().max_event_streams, 1..=1_000_000;
        /// Longest request target, in bytes.
        max_uri_bytes: usize = Limits::default().max_uri_bytes, 256..=65_534;
        /// Headers of one request.
        max_headers: usize = Limits::default().max_headers, 8..=1_000;
        /// All headers of one request together, in bytes.
        max_header_bytes: usize = Limits::default().max_header_bytes, 1_024..=1_048_576;
        /// Time for the headers of a request and for an idle connection, in seconds.
        header_timeout_secs: u64 = Limits::default().header_timeout.as_secs(), 1..=3_600;
        /// Longest pause within a request body, in seconds.
        body_idle_timeout_secs: u64 = Limits::default().body_idle_timeout.as_secs(), 1..=3_600;
        /// Time for a whole request body, in seconds.
        body_timeout_secs: u64 = Limits::default().body_timeout.as_secs(), 1..=86_400;
        /// Longest time a client takes no byte of its response, in seconds.
        write_timeout_secs: u64 = Limits::default().write_timeout.as_secs(), 1..=3_600;
        /// Time between comments on a quiet event stream, and between pings of a quiet WebSocket, in seconds.
        heartbeat_secs: u64 = Limits::default().heartbeat.as_secs(), 1..=300;
        /// How long a process that is told to stop goes on serving while `/readyz` says no, in seconds: behind a proxy, a
        /// little more than the proxy takes to notice.
        drain_secs: u64 = 0, 0..=3_600;
        /// How long a stopping server waits for requests under way, in seconds.
        stop_timeout_secs: u64 = Limits::default().stop_timeout.as_secs(), 0..=3_600;
        /// Everyone acts as admin, without a key. Refused on an address that others can reach.
        insecure_no_auth: bool = false;
    }
}

section! {
    /// How this process drives jobs. Read once, at start.
    WorkerConfig("worker") {
        /// Calls to providers in flight at once; each may hold one connection.
        concurrency: usize = EngineConfig::default().concurrency, 1..=100_000;
        /// Accounts that this process drives, by name. Default: all.
        accounts: Vec<String> = Vec::new();
        /// Jobs kept in memory at once.
        max_owned: usize = EngineConfig::default().max_owned, 1..=10_000_000;
        /// Submissions at once: at most this many can be uncertain after a crash.
        max_inflight_sends: usize = EngineConfig::default().max_inflight_sends, 1..=100_000;
        /// Silence after which others may take this process's work, in seconds. Must exceed beat and margin together.
        ttl_secs: u64 = EngineConfig::default().ttl.as_secs(), 1..=3_600;
        /// How often the process shows that it lives, in seconds.
        beat_secs: u64 = EngineConfig::default().beat.as_secs(), 1..=3_600;
        /// Trust in the own ownership ends this much before the ttl does, in seconds.
        margin_secs: u64 = EngineConfig::default().margin.as_secs(), 1..=3_600;
        /// How long a shutdown waits for submissions under way, in seconds.
        drain_timeout_secs: u64 = EngineConfig::default().drain_timeout.as_secs(), 0..=3_600;
    }
}

section! {
    /// Automatic new attempts.
    RetryConfig("retry") {
        /// Attempts a job makes by itself, each only after a failure that is provably unpaid.
        max_attempts: u16 = EngineConfig::default().max_attempts, 1..=100;
        /// How long a job knocks at providers that cannot be reached before it fails, in seconds.
        unavailable_secs: u64 = EngineConfig::default().unavailable_limit.as_secs(), 1..=LONG_SECS;
        /// What happens where nobody can find out whether a submission was accepted: `hold` waits for news or a
        /// person, `fail` gives up, `resubmit` accepts the risk of paying twice.
        on_unknown: OnUnknown = EngineConfig::default().on_unknown;
    }
}

section! {
    /// The built-in provider: renders the prompt as a title card, without network or key.
    SandboxConfig("sandbox") {
        /// Whether the model `sandbox` exists.
        enabled: bool = true;
    }
}

section! {
    /// Sizes and rates.
    LimitsConfig("limits") {
        /// Largest JSON body, or form beyond its input image, in bytes.
        max_body_bytes: usize = Limits::default().max_body_bytes, 65_536..=MANY_BYTES;
        /// Largest input image, in bytes.
        max_input_image_bytes: usize = Limits::default().max_input_image_bytes, 1_024..=MANY_BYTES;
        /// Request bodies in memory at once, in bytes; more get 503.
        max_bodies_bytes: usize = Limits::default().max_bodies_bytes, 65_536..=MANY_BYTES;
        /// Largest video accepted from a provider, in bytes.
        max_artifact_bytes: u64 = EngineConfig::default().max_artifact_bytes, 1..=MANY_BYTES;
        /// New videos are refused while the disk of the artifacts has less free room than this, in bytes.
        low_water_bytes: u64 = 256 << 20, 0..=MANY_BYTES;
        /// Requests per minute with one API key. Default: no limit.
        requests_per_minute: Option<u32> = None, 1..=10_000_000;
    }
}

section! {
    /// How long what is over is kept: `30d`, `12h` and such, or `forever`. By default nothing is ever removed. What is
    /// unfinished, held or watched is never removed. `[retention.projects.NAME]` says otherwise for one project.
    RetentionConfig("retention") {
        /// Finished videos with all that belongs to them, from when they finished. At least `24h`: idempotency keys live as long.
        jobs: Kept = Kept::FOREVER;
        /// Events of finished videos, each from when it happened; not longer than `jobs`. At least `1h`.
        events: Kept = Kept::FOREVER;
        /// The bytes of finished videos, from when they finished; not longer than `jobs`. At least `1h`.
        artifacts: Kept = Kept::FOREVER;
    }
}

section! {
    /// Input images that clients name by URL.
    InputsConfig("inputs") {
        /// Networks that images may be fetched from although they are not public. An address alone is a network of one.
        allow_networks: Vec<Network> = Vec::new();
        /// Time for fetching an image, in seconds.
        fetch_timeout_secs: u64 = Limits::default().fetch_timeout.as_secs(), 1..=3_600;
    }
}

section! {
    /// Where webhooks may be sent: to endpoints that clients make, and to the `webhook_url` of a video. By default over
    /// https to public addresses only, so that no client reaches this server's own network through it.
    WebhooksConfig("webhooks") {
        /// Networks that webhooks may be sent to although they are not public. An address alone is a network of one.
        allow_networks: Vec<Network> = Vec::new();
        /// Whether plain `http` is allowed: everyone on the way can then read what is sent.
        allow_http: bool = false;
        /// Tries at once from one process, to all endpoints together.
        concurrency: usize = WebhookConfig::default().concurrency, 1..=10_000;
        /// Of them, to one endpoint.
        per_endpoint: usize = WebhookConfig::default().per_endpoint, 1..=1_000;
        /// How long a delivery is one process's to try, in seconds: so much later it is tried again if that process died.
        lease_secs: u64 = WebhookConfig::default().lease.as_secs(), 20..=3_600;
    }
}

section! {
    /// What the process tells about itself, on standard error.
    LogConfig("log") {
        /// `text` for people, `json` for programs.
        format: LogFormat = LogFormat::Text;
        /// `error`, `warn`, `info`, `debug`, `trace`, or pairs such as `info,longtake_engine=debug`. `LONGTAKE_LOG` sets it too.
        /// Default: `info` for `serve`, `warn` for other commands.
        level: Option<String> = None;
    }
}
