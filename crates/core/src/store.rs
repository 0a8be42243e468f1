//! The seam to rows: verbs of the store contract, one transaction each.
//!
//! A call takes many items, and items are independent: one that is stale hinders no other. Everything that says so is
//! durable before it returns. A store only loads, applies [`apply`](crate::apply::apply) or
//! [`merge`], and saves. The executable specification is `memory_store`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::BoxError;
use crate::apply::{Input, LateInput};
use crate::artifact::{Artifact, ArtifactKey};
use crate::attempt::{Attempt, AttemptState, Evidence, Merge, Sender, Verdict, merge};
use crate::event::JobEvent;
pub use crate::executor::{Beat, ExecutorInfo, ExecutorRow, ProcessInfo, Share};
use crate::feed::{FeedCursor, FeedEvent, FeedPage, Tail};
use crate::id::{AccountId, AttemptNo, ExecutorId, Fence, JobId, Nonce, PoolId, ProjectId, ProviderJobId};
use crate::limits::AttemptLimits;
use crate::provider::Exchange;
use crate::record::Record;
use crate::request::VideoRequest;
use crate::retention::{Expired, Retention};
use crate::state::Status;
use crate::time::Timestamp;
use crate::webhook_store::WebhookStore;
pub use crate::work::{Claim, Place, Release, Wanted, WantedAccount, WorkKey, WorkKind};

/// A job to be made durable (T1).
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Made by the server, so that a create whose commit is unknown can be repeated.
    pub job: JobId,
    /// Whose.
    pub project: ProjectId,
    /// What was asked for.
    pub request: VideoRequest,
    /// Where it waits: the pool of its first route.
    pub pool: PoolId,
    /// How long the client gives it.
    pub deadline: Option<Duration>,
    /// The client's key and the fingerprint of the decoded fields it stands for.
    pub idempotency: Option<IdempotencyKey>,
}

/// A client's key, bound to what it was first used for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// As the client wrote it, 1 to 255 characters.
    pub key: Box<str>,
    /// SHA-256 over the decoded fields.
    pub fingerprint: [u8; 32],
}

/// What became of a create.
#[derive(Debug, Clone, PartialEq)]
pub enum CreateResult {
    /// Committed.
    Created(Job),
    /// The key was used for the same fields: the same job, as it is now. A deleted one is still the same job.
    Replayed(Job),
    /// The key was used for other fields.
    KeyReused(JobId),
}

/// A job as readers see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// The changing half.
    pub record: Record,
    /// The unchanging half.
    pub request: Arc<VideoRequest>,
    /// What `/content` serves: of the current attempt if completed, else the newest late result.
    pub output: Option<Artifact>,
}

/// An intent to be opened (T2).
#[derive(Debug, Clone, PartialEq)]
pub struct OpenAttempt {
    /// The drive row.
    pub work: WorkKey,
    /// Our number on it.
    pub fence: Fence,
    /// The intent.
    pub attempt: Attempt,
    /// What it has to keep, over all machines.
    pub limits: AttemptLimits,
}

/// What became of an intent.
#[derive(Debug, Clone, PartialEq)]
pub enum OpenResult {
    /// Durable: this execution may send, once.
    Opened(Record),
    /// Another owner or a newer fence: drop the claim.
    Stale,
    /// The job changed meanwhile (canceled, revived, already open): choose again.
    Conflict(Record),
    /// Rule R12: it may have been sent in a history that was lost. Recorded as unknown, to be found out; never send.
    Doubted(Record),
    /// The account, or the model at it, has as many jobs at the provider as it may.
    AccountFull,
    /// The pace of the account or the model allows the next submission then.
    Paced(Timestamp),
}

/// Whom evidence wakes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// Not the sender, where it still owns the job: it testifies itself and takes it up next.
    Others,
    /// The owner.
    Owner,
    /// The owner, also where the evidence was known and the attempt is still waited for: the provider says that there is
    /// something new to see.
    OwnerAlways,
}

/// Evidence on its way to an attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct EvidenceRecord {
    /// Whose.
    pub job: JobId,
    /// Which attempt.
    pub attempt: AttemptNo,
    /// If given, only this execution's own intent is meant, and a refusal only while nobody took it over (rules R2, R8).
    pub nonce: Option<Nonce>,
    /// The sender's own word that its request ended: it writes no more bytes of it (rule R7). `None` from anyone else.
    pub ended: Option<Sender>,
    /// What is known.
    pub evidence: Evidence,
    /// It was found in a list and resembles what was asked for, no more: where the attempt has its provider job already it
    /// says nothing, and must not keep another attempt from its own.
    pub by_resemblance: bool,
    /// The exchanges behind it.
    pub exchanges: Vec<Exchange>,
    /// Whom it wakes.
    pub wake: Wake,
}

impl EvidenceRecord {
    /// Whether this says anything about the attempt as it is.
    ///
    /// Where a provider recognises keys, a successor may have sent the same purchase again: then the first sender's
    /// refusal no longer closes it.
    pub fn concerns(&self, attempt: &Attempt) -> bool {
        let accepted = matches!(self.evidence, Evidence::Accepted(_));
        if self.by_resemblance && attempt.provider_job.is_some() {
            return false;
        }
        self.nonce.is_none_or(|nonce| nonce == attempt.nonce && (accepted || attempt.state == AttemptState::Intent))
    }

    /// Whether it is worth a look although it changes nothing: word from the provider about a job that is still waited
    /// for. What is closed, or names another job, wakes nobody, so that a repeated call does not cut a wait short.
    pub fn is_word_of(&self, attempt: &Attempt) -> bool {
        let awaited = attempt.state.is_open() || attempt.state == AttemptState::LateAccepted;
        let fits = match &self.evidence {
            Evidence::Accepted(provider_job) => attempt.provider_job.as_ref() == Some(provider_job),
            Evidence::Unknown => true,
            Evidence::NotAccepted(_) => false,
        };
        self.wake == Wake::OwnerAlways && awaited && fits
    }

    /// The executor that need not be woken. It may have lost the job since: only who still owns it is spared.
    pub fn spared(&self, attempt: &Attempt) -> Option<ExecutorId> {
        (self.wake == Wake::Others).then_some(attempt.executor)
    }

    /// What it does to the attempt of `record`'s job; `claimed` as in [`merge`]. That the request ended counts whatever
    /// else it says, and also where that came too late to count.
    pub fn merge(&self, record: &Record, attempt: &Attempt, claimed: bool, now: Timestamp) -> Merge {
        let ended = attempt.with_request_ended(self.ended, now);
        let attempt = ended.as_ref().unwrap_or(attempt);
        // Only the answer to the send itself says that the provider merged two requests.
        let elsewhere = claimed && self.ended.is_none() && attempt.provider_job.is_none();
        let merged = if self.concerns(attempt) && !elsewhere {
            merge(record, attempt, &self.evidence, claimed, now)
        } else {
            Merge::Unchanged
        };
        match (merged, ended) {
            (Merge::Unchanged, Some(attempt)) => Merge::Changed { attempt, watch: false },
            (merged, _) => merged,
        }
    }
}

/// One decision of an owner.
#[derive(Debug, Clone, PartialEq)]
pub struct StepCommit {
    /// Which row.
    pub work: WorkKey,
    /// Our number on it.
    pub fence: Fence,
    /// What happened.
    pub input: StepInput,
    /// The exchanges behind it, for the timeline.
    pub exchanges: Vec<Exchange>,
    /// Give the row back, due then, unless the step ends it. `None` keeps it.
    pub release: Option<(Timestamp, Place)>,
}

/// What happened, to a job or to a late attempt.
#[derive(Debug, Clone, PartialEq)]
pub enum StepInput {
    /// For a drive row.
    Job(Input),
    /// For a watch row.
    Late(LateInput),
}

/// What became of a decision.
#[derive(Debug, Clone, PartialEq)]
pub enum StepResult {
    /// Committed; the record as it now is.
    Applied(Record),
    /// Another owner or a newer fence: drop the claim.
    Stale,
    /// The job is not what the owner thought; here it is (and, for a watch row, its attempt).
    Conflict(Record, Option<Attempt>),
}

/// What became of a client's command.
#[derive(Debug, Clone, PartialEq)]
pub enum CommandResult {
    /// Done, or done before.
    Done(Job),
    /// The job is in no state for it.
    Refused(Job),
    /// No such job in this project.
    NotFound,
}

/// What a person decides about a held job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resolution {
    /// They found the provider's job.
    Adopt(ProviderJobId),
    /// Resubmit or fail.
    Decide(Verdict),
}

/// A page of jobs, newest first unless `ascending`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ListFilter {
    /// Begin behind this one.
    pub after: Option<JobId>,
    /// Oldest first.
    pub ascending: bool,
    /// At most this many, 1 to 100.
    pub limit: usize,
    /// Only this public status.
    pub status: Option<Status>,
    /// Only this model.
    pub model: Option<String>,
    /// Only jobs whose metadata has all of these pairs.
    pub metadata: BTreeMap<String, String>,
}

/// A page.
#[derive(Debug, Clone, PartialEq)]
pub struct Page {
    /// The jobs.
    pub jobs: Vec<Job>,
    /// There is more behind the last.
    pub has_more: bool,
}

/// The flight recorder of one job.
#[derive(Debug, Clone, PartialEq)]
pub struct Timeline {
    /// The job as it is.
    pub job: Job,
    /// Every attempt.
    pub attempts: Vec<Attempt>,
    /// Every event, at most [`Timeline::MAX_EVENTS`] of the newest.
    pub events: Vec<JobEvent>,
    /// The exchanges that changed something, at most [`Timeline::MAX_EVENTS`] of the newest.
    pub exchanges: Vec<(AttemptNo, Exchange)>,
}

impl Timeline {
    /// Most events and most exchanges one timeline shows.
    pub const MAX_EVENTS: usize = 1_000;
}

/// An API key as it is stored: never the key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// `key_` and a number.
    pub id: i64,
    /// What people call it.
    pub name: String,
    /// Whose jobs it sees.
    pub project: ProjectId,
    /// SHA-256 of the key.
    pub hash: [u8; 32],
    /// What it may do: `read`, `write`, `admin`.
    pub scopes: Vec<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// Figures for metrics; counted, so not for hot paths.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoreStats {
    /// Unfinished jobs by state's number.
    pub live: BTreeMap<i16, u64>,
    /// Late attempts being watched.
    pub watched: u64,
    /// Provider jobs nobody accounts for.
    pub orphans: u64,
    /// Work rows that are due and have no owner.
    pub due: u64,
    /// Executors that beat within their ttl: the processes that drive jobs.
    pub executors: u64,
    /// Connections to the database in use by this process, and calls that wait for one; zero where there are none.
    pub connections: (u64, u64),
    /// How long the oldest transaction under way has kept the feed from settling; zero where there is none.
    pub horizon_age: Duration,
}

/// The store did not do it, or did not say.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database did not say whether it committed: read again, never assume.
    #[error("commit outcome unknown")]
    CommitUnknown,
    /// Too little room to accept more; existing work goes on.
    #[error("the database is out of room")]
    Full,
    /// The cursor is none, or another database's.
    #[error("no cursor of this database")]
    Cursor,
    /// Events behind the cursor were removed by retention.
    #[error("events behind this cursor are no longer kept")]
    CursorExpired,
    /// The call did not happen.
    #[error("store: {0}")]
    Failed(#[source] BoxError),
}

/// Told after a commit, on the committing thread: must not block. `events` that became visible; `woken` if owned work was woken.
pub type CommitListener = Arc<dyn Fn(&[(JobId, u32)], bool) + Send + Sync>;

/// Rows, durable. The contract of docs/durability.md; sections and rules there.
#[async_trait]
pub trait Store: WebhookStore {
    /// Makes jobs durable (T1).
    ///
    /// # Errors
    /// `CommitUnknown`: repeat with the same jobs. `Full`: refuse the client.
    async fn create(&self, jobs: Vec<NewJob>) -> Result<Vec<CreateResult>, StoreError>;

    /// What a client's key already stands for.
    async fn find_idempotent(&self, project: ProjectId, key: &str) -> Result<Option<([u8; 32], JobId)>, StoreError>;

    /// Begins a new incarnation.
    async fn register_executor(&self, info: ExecutorInfo) -> Result<ExecutorId, StoreError>;

    /// Takes unowned rows: owner and a higher fence, due never by itself, no longer queued. First due ones, by age; then,
    /// as far as account and model have room, queued ones: by priority, then projects in turn, then age.
    ///
    /// Room is looked at, not reserved: two executors may take for the same slot, and [`Store::open_attempts`] decides.
    ///
    /// # Errors
    /// `CommitUnknown`: run [`Store::owned`] and take what is there.
    async fn acquire(&self, executor: ExecutorId, wanted: &Wanted) -> Result<Vec<Claim>, StoreError>;

    /// Every row this executor owns, whether it remembers it or not.
    async fn owned(&self, executor: ExecutorId) -> Result<Vec<(WorkKey, Fence)>, StoreError>;

    /// The claims on rows this executor owns; rows it does not own are left out.
    async fn claims(&self, executor: ExecutorId, works: Vec<WorkKey>) -> Result<Vec<Claim>, StoreError>;

    /// Own rows that a cancel, a decision or evidence made due, at most `limit`; each is told once.
    async fn woken(&self, executor: ExecutorId, limit: usize) -> Result<Vec<Claim>, StoreError>;

    /// Makes intents durable (T2). Fenced.
    ///
    /// # Errors
    /// `CommitUnknown`: never send.
    async fn open_attempts(
        &self,
        executor: ExecutorId,
        intents: Vec<OpenAttempt>,
    ) -> Result<Vec<OpenResult>, StoreError>;

    /// Records what is known of attempts, whoever learned it: asks for no owner (rule R5), wakes as [`Wake`] says.
    /// Idempotent, but for its exchanges: they are kept with what changed something or woke somebody.
    ///
    /// # Errors
    /// `CommitUnknown`: repeat until applied.
    async fn record_evidence(&self, evidence: Vec<EvidenceRecord>) -> Result<(), StoreError>;

    /// Commits decisions of one owner: state, events, attempt, artifacts and work row of each item, or nothing of it.
    ///
    /// # Errors
    /// `CommitUnknown` when the database did not say: re-read through [`Store::claims`], never assume.
    async fn step(&self, executor: ExecutorId, commits: Vec<StepCommit>) -> Result<Vec<StepResult>, StoreError>;

    /// Gives rows back, due at a time, or earlier where news woke them meanwhile: never later than they already are.
    /// Rows with another owner or fence are left alone.
    async fn release(&self, executor: ExecutorId, rows: Vec<Release>) -> Result<(), StoreError>;

    /// The executor's one sign of life, with how many rows it owns for each account it drives.
    async fn beat(&self, executor: ExecutorId, load: Vec<(AccountId, u32)>) -> Result<Beat, StoreError>;

    /// Takes the work of executors that were silent for longer than their ttl, at most `limit` rows. How many rows.
    async fn reap(&self, limit: usize) -> Result<usize, StoreError>;

    /// Whether the process behind an incarnation provably sends no more (rule R7c). A missed beat proves nothing.
    /// Of [`ExecutorId::LOST`]: no incarnation from before the quarantine is given up without such a proof.
    async fn sender_is_dead(&self, executor: ExecutorId) -> Result<bool, StoreError>;

    /// The time by the clock that all times are compared with.
    async fn now(&self) -> Result<Timestamp, StoreError>;

    /// Until when history may be missing: a restored backup, a failover that lost commits (rule R12). Jobs that nothing
    /// younger is known of are not submitted before it is found out whether they were.
    async fn quarantine(&self) -> Result<Option<Timestamp>, StoreError>;

    /// Says that history before now may be missing; what it was before is overwritten. The time noted.
    async fn set_quarantine(&self) -> Result<Timestamp, StoreError>;

    /// What all processes of one database must agree on: noted if nobody has. `false` where it was noted otherwise.
    async fn agree(&self, name: &'static str, value: &str) -> Result<bool, StoreError>;

    /// The newest incarnations, at most `limit`, newest first.
    async fn executors(&self, limit: usize) -> Result<Vec<ExecutorRow>, StoreError>;

    /// A person's word that the process behind an incarnation is gone. `false` if there is none, or it still beats.
    async fn confirm_dead(&self, executor: ExecutorId) -> Result<bool, StoreError>;

    /// Which of these provider jobs some attempt or orphan of the account already has.
    async fn claimed(&self, account: AccountId, provider_jobs: Vec<ProviderJobId>) -> Result<Vec<bool>, StoreError>;

    /// How many jobs the account has at the provider: attempts that may still run there.
    async fn in_flight(&self, account: AccountId) -> Result<u32, StoreError>;

    /// How many attempts of the account are in doubt: intents, unknown ones, and waived ones that are still watched or
    /// whose intent is not older than `since`. What the watch of those gave up is still somewhere in the provider's list.
    async fn in_doubt(&self, account: AccountId, since: Timestamp) -> Result<u32, StoreError>;

    /// Asks to cancel. Idempotent. Never refused: where it is too late the job says so.
    async fn request_cancel(&self, project: ProjectId, job: JobId) -> Result<CommandResult, StoreError>;

    /// Notes a person's decision about a held job and wakes its owner. `Refused` if it is not held.
    async fn resolve_held(
        &self,
        project: ProjectId,
        job: JobId,
        resolution: Resolution,
        by: Arc<str>,
    ) -> Result<CommandResult, StoreError>;

    /// T22: queued again, in the pool of its first route. `Refused` if it is neither failed nor canceled.
    async fn retry(
        &self,
        project: ProjectId,
        job: JobId,
        by: Arc<str>,
        pool: PoolId,
    ) -> Result<CommandResult, StoreError>;

    /// Hides a finished job and forgets its artifacts; returns their keys, for removal. `Refused` if it is unfinished.
    async fn hide(&self, project: ProjectId, job: JobId) -> Result<(CommandResult, Vec<ArtifactKey>), StoreError>;

    /// One job, unless hidden.
    async fn get(&self, project: ProjectId, job: JobId) -> Result<Option<Job>, StoreError>;

    /// The immutable request, for a submission.
    async fn request(&self, job: JobId) -> Result<Option<Arc<VideoRequest>>, StoreError>;

    /// A page of jobs. `None` if `after` names no job of this project.
    async fn list(&self, project: ProjectId, filter: ListFilter) -> Result<Option<Page>, StoreError>;

    /// Events of one job after a number, in order, at most `limit`.
    async fn events_after(&self, job: JobId, ver: u32, limit: usize) -> Result<Vec<JobEvent>, StoreError>;

    /// Events of all jobs, or of one project's, behind a cursor, in order; only what no transaction under way can still
    /// precede. Without a cursor: nothing, and the cursor of now.
    ///
    /// # Errors
    /// `Cursor`; `CursorExpired` where events of the project (or of any, without one) behind the cursor were removed.
    async fn feed(
        &self,
        project: Option<ProjectId>,
        after: Option<FeedCursor>,
        limit: usize,
    ) -> Result<FeedPage, StoreError>;

    /// What became visible since the last call, whoever committed it, each event once and each job's in order; at first
    /// nothing. See also [`Tail::at`].
    ///
    /// # Errors
    /// `Cursor`: the note cannot be gone on from (too much has happened, or the database is another). Begin again; the
    /// feed tells what lies between.
    async fn tail(&self, after: Option<Tail>) -> Result<(Vec<FeedEvent>, Tail), StoreError>;

    /// How often to look at the tail while somebody listens. `None`: [`Store::on_commit`] tells of every event.
    fn tail_interval(&self) -> Option<Duration> {
        None
    }

    /// The flight recorder.
    async fn timeline(&self, project: ProjectId, job: JobId) -> Result<Option<Timeline>, StoreError>;

    /// How long the newest completed jobs of a model ran from their create, at most `limit`. For honest estimates.
    async fn durations(&self, model: &str, limit: usize) -> Result<Vec<Duration>, StoreError>;

    /// Which of these artifact keys a row refers to; the others may be swept.
    async fn referenced(&self, keys: Vec<ArtifactKey>) -> Result<Vec<bool>, StoreError>;

    /// Removes what the policies no longer keep: one bounded piece of the walk over old jobs, project by project, each in
    /// the order of ids, artifacts, then events, then jobs. Looks at `limit` jobs at most and goes on where the last call,
    /// of whatever process, ended; once a day from the beginning. Calls at the same time do not hinder each other: one
    /// works, the others answer that there is nothing to do.
    ///
    /// Left alone: unfinished jobs, those with a work row (watched, or just retried), and whole jobs that an older doubt
    /// of the same account may still be compared with (an attempt whose outcome is unknown and whose intent is older than
    /// [`Keep::PIN_MARGIN`](crate::retention::Keep::PIN_MARGIN) after the end of the job): their attempts say which
    /// provider jobs are taken. Only a doubt that somebody still looks into counts, an intent or unknown attempt of a
    /// live job or any that is watched and not yet known: what nobody looks
    /// into is compared with nothing, and two such jobs would keep each other for ever.
    ///
    /// A removed job takes its request, attempts, events, artifacts, exchanges, orphans, idempotency keys and webhook
    /// deliveries along. Feeds say `CursorExpired` to readers that stood before an event that was removed.
    ///
    /// The call that comes to the end of the walk removes up to `limit` webhook endpoints, too: those that their clients
    /// removed, once no delivery of theirs is left.
    async fn expire(&self, policy: &Retention, limit: usize) -> Result<Expired, StoreError>;

    /// Numbers for accounts by (name, provider); a new name gets a new number.
    async fn register_accounts(&self, accounts: Vec<(String, String)>) -> Result<Vec<AccountId>, StoreError>;

    /// Numbers for the models of accounts; a new one gets a new number.
    async fn register_pools(&self, pools: Vec<(AccountId, Arc<str>)>) -> Result<Vec<PoolId>, StoreError>;

    /// The number of a project by name; made where it is new.
    async fn project(&self, name: &str) -> Result<ProjectId, StoreError>;

    /// Stores a new key; its id is filled in.
    async fn create_key(&self, key: ApiKey) -> Result<ApiKey, StoreError>;

    /// All keys, revoked ones too, at most 1,000.
    async fn keys(&self) -> Result<Vec<ApiKey>, StoreError>;

    /// Revokes a key; `false` if there is none with this id.
    async fn revoke_key(&self, id: i64) -> Result<bool, StoreError>;

    /// The unrevoked key with this hash.
    async fn find_key(&self, hash: [u8; 32]) -> Result<Option<ApiKey>, StoreError>;

    /// Figures for metrics.
    async fn stats(&self) -> Result<StoreStats, StoreError>;

    /// Told after each commit. Listeners are never removed: register once per process.
    fn on_commit(&self, listener: CommitListener);

    /// Can the store be written to right now.
    async fn ready(&self) -> Result<(), StoreError>;
}
