//! What clients and people ask for: create, cancel, resolve, retry, hide; and names and keys. No owner is asked.

use std::sync::Arc;

use longtake_core::apply::{Input, apply};
use longtake_core::artifact::ArtifactKey;
use longtake_core::attempt::{Decision, Evidence, Merge, Verdict, merge};
use longtake_core::event::EventKind;
use longtake_core::id::{AccountId, Fence, JobId, PoolId, ProjectId};
use longtake_core::record::Record;
use longtake_core::request::VideoRequest;
use longtake_core::state::JobState;
use longtake_core::store::{ApiKey, CommandResult, CreateResult, IdempotencyKey, Job, NewJob, Resolution};
use longtake_core::time::Timestamp;
use rusqlite::{Result, params};

use super::change::Change;
use super::{load, sql};
use crate::rows::{corrupt, job_id, metadata_text, micros, request_bytes};

/// A job to be created, with its JSON made before the writer is asked.
pub(super) struct Draft {
    new: NewJob,
    request: Arc<VideoRequest>,
    bytes: Vec<u8>,
    metadata: Option<String>,
}

impl Draft {
    /// Makes the columns of a new job.
    pub fn new(new: NewJob) -> Result<Self> {
        let request = Arc::new(new.request.clone());
        Ok(Self { bytes: request_bytes(&request)?, metadata: metadata_text(&request.metadata)?, request, new })
    }
}

impl Change<'_> {
    /// T1.
    pub fn create(&mut self, draft: &Draft) -> Result<CreateResult> {
        let new = &draft.new;
        if let Some(known) = self.known(new)? {
            return Ok(known);
        }
        let record = Record::new(new.job, new.project, &draft.request, new.deadline, self.now);
        let id = new.job.as_bytes();
        let at = self.now.as_micros();
        if let Some(IdempotencyKey { key, fingerprint }) = &new.idempotency {
            self.run(sql::IDEM_INSERT, params![new.project.0, key, fingerprint, id, at])?;
        }
        self.run(
            sql::JOB_INSERT,
            params![
                id,
                record.project.0,
                &*record.model,
                record.state.name().number(),
                record.ver,
                at,
                record.deadline.map(micros),
                record.deadline_at.map(Timestamp::as_micros),
                record.priority,
            ],
        )?;
        let input = draft.request.input.as_ref().map(|input| input.key.as_str());
        self.run(sql::REQUEST_INSERT, params![id, draft.metadata, input, draft.bytes])?;
        if let Some(webhook) = &draft.request.webhook {
            self.run(sql::JOB_WEBHOOK_INSERT, params![id, webhook.endpoint.0, webhook.types.bits()])?;
        }
        let body = crate::rows::snapshot_text(&record.snapshot(None))?;
        self.save_event(&record, record.ver, EventKind::Queued, &body)?;
        self.queue(&record, new.pool)?;
        Ok(CreateResult::Created(Job { record, request: draft.request.clone(), output: None }))
    }

    /// What a repeated create gets. Without a key the job's id makes it repeatable.
    fn known(&self, new: &NewJob) -> Result<Option<CreateResult>> {
        if let Some(IdempotencyKey { key, fingerprint }) = &new.idempotency
            && let Some((known, job)) = find_idempotent(self.connection, new.project, key)?
        {
            if known != *fingerprint {
                return Ok(Some(CreateResult::KeyReused(job)));
            }
            let job = load::view(self.connection, job)?.ok_or_else(|| corrupt("a key without its job"))?;
            return Ok(Some(CreateResult::Replayed(job)));
        }
        match load::first(self.connection, sql::JOB_EXISTS, [new.job.as_bytes()], |_| Ok(()))? {
            Some(()) => Ok(load::view(self.connection, new.job)?.map(CreateResult::Replayed)),
            None => Ok(None),
        }
    }

    /// Sets the flag and wakes the owner.
    pub fn request_cancel(&mut self, project: ProjectId, job: JobId) -> Result<CommandResult> {
        let Some(seen) = load::visible(self.connection, project, job)? else { return Ok(CommandResult::NotFound) };
        let Some(record) = seen.record.with_cancel(self.now) else { return Ok(CommandResult::Done(seen)) };
        self.save_job(&record)?;
        if record.cancel_pending() {
            self.wake(job, None)?;
        }
        Ok(CommandResult::Done(Job { record, ..seen }))
    }

    /// Notes a decision, or the provider job a person found. Refused where nothing is in doubt.
    pub fn resolve_held(
        &mut self,
        project: ProjectId,
        job: JobId,
        resolution: Resolution,
        by: Arc<str>,
    ) -> Result<CommandResult> {
        let Some(seen) = load::visible(self.connection, project, job)? else { return Ok(CommandResult::NotFound) };
        let held = matches!(seen.record.state, JobState::Held { .. });
        let Some(mut attempt) = seen.record.attempt.clone().filter(|attempt| held && attempt.state.is_unresolved())
        else {
            return Ok(CommandResult::Refused(seen));
        };
        match resolution {
            Resolution::Decide(Verdict::Retried) => return Ok(CommandResult::Refused(seen)),
            Resolution::Decide(verdict) => {
                attempt.decision = Some(Decision { verdict, by });
                self.save_attempt(job, &attempt)?;
            }
            Resolution::Adopt(provider_job) => {
                // A slip of a person is no evidence: what another attempt has is refused, not taken for "not accepted".
                if load::is_claimed(self.connection, attempt.account, &provider_job, Some((job, attempt.n)))? {
                    return Ok(CommandResult::Refused(seen));
                }
                let evidence = Evidence::Accepted(provider_job);
                if let Merge::Changed { attempt, watch } = merge(&seen.record, &attempt, &evidence, false, self.now) {
                    self.save_attempt(job, &attempt)?;
                    if watch {
                        self.watch(job, attempt.n)?;
                    }
                }
            }
        }
        self.wake(job, None)?;
        self.done(job)
    }

    /// T22.
    pub fn retry(&mut self, project: ProjectId, job: JobId, by: Arc<str>, pool: PoolId) -> Result<CommandResult> {
        let Some(seen) = load::visible(self.connection, project, job)? else { return Ok(CommandResult::NotFound) };
        let Ok(transition) = apply(&seen.record, Input::Retry(by), self.now) else {
            return Ok(CommandResult::Refused(seen));
        };
        self.save(&transition)?;
        self.queue(&transition.record, pool)?;
        self.done(job)
    }

    /// Hides a finished job, its outputs and its late attempts.
    pub fn hide(&mut self, project: ProjectId, job: JobId) -> Result<(CommandResult, Vec<ArtifactKey>)> {
        let Some(seen) = load::visible(self.connection, project, job)? else {
            return Ok((CommandResult::NotFound, Vec::new()));
        };
        if !seen.record.state.is_terminal() {
            return Ok((CommandResult::Refused(seen), Vec::new()));
        }
        self.run(sql::JOB_HIDE, params![job.as_bytes(), self.now.as_micros()])?;
        let fences: Vec<i64> = load::all(self.connection, sql::WATCHES_DELETE, [job.as_bytes()], |row| row.get(0))?;
        if let Some(highest) = fences.into_iter().max() {
            self.raise_floor(job, Fence(highest))?;
        }
        let keys = load::all(self.connection, sql::ARTIFACTS_DELETE, [job.as_bytes()], |row| {
            Ok(ArtifactKey::from_stored(row.get_ref(0)?.as_str()?))
        })?;
        Ok((CommandResult::Done(Job { output: None, ..seen }), keys))
    }

    fn done(&self, job: JobId) -> Result<CommandResult> {
        Ok(load::view(self.connection, job)?.map_or(CommandResult::NotFound, CommandResult::Done))
    }

    /// The number of an account by name and provider; a new one gets a new number.
    pub fn account(&self, name: &str, provider: &str) -> Result<AccountId> {
        self.run(sql::ACCOUNT_INSERT, [name, provider])?;
        let mut statement = self.connection.prepare_cached(sql::ACCOUNT_GET)?;
        statement.query_row([name, provider], |row| row.get(0)).map(AccountId)
    }

    /// The numbers of models of accounts; a new one gets a new number. These are all that this process serves, and there
    /// is no other: what waits in other pools is anyone's to look at.
    pub fn pools(&mut self, pools: &[(AccountId, Arc<str>)]) -> Result<Vec<PoolId>> {
        let number = |(account, model): &(AccountId, Arc<str>)| {
            self.run(sql::POOL_INSERT, params![account.0, model])?;
            let mut statement = self.connection.prepare_cached(sql::POOL_GET)?;
            statement.query_row(params![account.0, model], |row| row.get(0)).map(PoolId)
        };
        let numbers: Vec<PoolId> = pools.iter().map(number).collect::<Result<_>>()?;
        let served = serde_json::to_string(&numbers.iter().map(|pool| pool.0).collect::<Vec<_>>()).map_err(corrupt)?;
        self.news.woken |= self.run(sql::STRAYS, params![served, self.now.as_micros()])? > 0;
        Ok(numbers)
    }

    /// History before now may be missing.
    pub fn set_quarantine(&self) -> Result<Timestamp> {
        self.run(sql::META_SET, [load::QUARANTINE, &self.now.as_micros().to_string()])?;
        Ok(self.now)
    }

    /// Whether this is what was noted under the name; notes it where nothing was.
    pub fn agree(&self, name: &str, value: &str) -> Result<bool> {
        match load::meta(self.connection, name)? {
            Some(known) => Ok(known == value),
            None => self.run(sql::META_SET, [name, value]).map(|_| true),
        }
    }

    /// The number of a project.
    pub fn project(&self, name: &str) -> Result<ProjectId> {
        self.run(sql::PROJECT_INSERT, [name])?;
        self.connection.prepare_cached(sql::PROJECT_GET)?.query_row([name], |row| row.get(0)).map(ProjectId)
    }

    /// Stores a key; its id is filled in.
    pub fn create_key(&self, key: ApiKey) -> Result<ApiKey> {
        let scopes = serde_json::to_string(&key.scopes).map_err(corrupt)?;
        let params = params![
            key.name,
            key.project.0,
            key.hash,
            scopes,
            key.created_at.as_micros(),
            key.revoked_at.map(Timestamp::as_micros),
        ];
        let id = self.connection.prepare_cached(sql::KEY_INSERT)?.query_row(params, |row| row.get(0))?;
        Ok(ApiKey { id, ..key })
    }

    /// Revokes a key; `false` if there is none.
    pub fn revoke_key(&self, id: i64) -> Result<bool> {
        Ok(self.run(sql::KEY_REVOKE, [id, self.now.as_micros()])? == 1)
    }
}

/// What a client's key stands for.
pub(super) fn find_idempotent(
    connection: &rusqlite::Connection,
    project: ProjectId,
    key: &str,
) -> Result<Option<([u8; 32], JobId)>> {
    load::first(connection, sql::IDEM_GET, params![project.0, key], |row| Ok((row.get(0)?, job_id(row, 1)?)))
}
