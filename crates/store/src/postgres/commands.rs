//! What clients and people ask for: cancel, resolve, retry, hide. No owner is asked.

use std::sync::Arc;

use longtake_core::apply::{Input, apply};
use longtake_core::artifact::ArtifactKey;
use longtake_core::attempt::{Attempt, Decision, Evidence, Merge, Verdict, merge};
use longtake_core::id::{JobId, PoolId, ProjectId, ProviderJobId};
use longtake_core::request::VideoRequest;
use longtake_core::state::JobState;
use longtake_core::store::{CommandResult, Job, Resolution, WorkKey, WorkKind};

use super::load::{self, lock};
use super::picture::{JobRows, News, Picture};
use super::saves::{self, saves};
use super::session::{Failure, Session};
use super::{PostgresStore, sql};
use crate::rows::postgres::{get, uuid_of};
use crate::rows::{Result as Read, unreadable};

/// A job under its lock, with its request.
struct Command {
    session: Session,
    picture: Picture,
    project: ProjectId,
    job: JobId,
    request: Option<Arc<VideoRequest>>,
}

impl Command {
    /// `None` where the project has no such job.
    fn visible(&self) -> Option<&JobRows> {
        self.picture.visible(self.project, self.job)
    }

    /// The job as it now is.
    fn view(&self) -> Result<Job, Failure> {
        let rows = self.picture.job(self.job).ok_or_else(|| unreadable("a job that is not there"))?;
        let request = self.request.clone().ok_or_else(|| unreadable("a job without its request"))?;
        Ok(Job { record: rows.full_record(), request, output: rows.output.clone() })
    }

    async fn refused(self) -> Result<(CommandResult, News), Failure> {
        self.session.rollback().await;
        Ok((CommandResult::Refused(self.view()?), News::default()))
    }

    async fn not_found(self) -> Result<(CommandResult, News), Failure> {
        self.session.rollback().await;
        Ok((CommandResult::NotFound, News::default()))
    }

    async fn done(self) -> Result<(CommandResult, News), Failure> {
        self.session.save(saves(&self.picture)?).await?;
        Ok((CommandResult::Done(self.view()?), self.picture.news))
    }
}

impl PostgresStore {
    async fn command(&self, project: ProjectId, job: JobId, more: &[&'static str]) -> Result<Command, Failure> {
        let session = self.session(&[load::LOCK, saves::ALL, more]).await?;
        let jobs = [uuid_of(job)];
        let (picture, request) =
            futures::join!(lock(&session, &jobs, &[], self.bound_now()), load::request(&session, job));
        Ok(Command { picture: picture?, request: request?, session, project, job })
    }

    /// Sets the flag and wakes the owner.
    pub(super) async fn try_cancel(&self, project: ProjectId, job: JobId) -> Result<(CommandResult, News), Failure> {
        let mut command = self.command(project, job, &[]).await?;
        let Some(record) = command.visible().map(|rows| rows.record.clone()) else { return command.not_found().await };
        if let Some(record) = record.with_cancel(command.picture.now) {
            let pending = record.cancel_pending();
            if let Some(rows) = command.picture.job_mut(job) {
                rows.record = record;
            }
            if pending {
                command.picture.wake(job, None);
            }
        }
        command.done().await
    }

    /// Notes a decision, or the provider job a person found. Refused where nothing is in doubt.
    pub(super) async fn try_resolve(
        &self,
        project: ProjectId,
        job: JobId,
        resolution: &Resolution,
        by: &Arc<str>,
    ) -> Result<(CommandResult, News), Failure> {
        let mut command = self.command(project, job, &[sql::CLAIMED_BY_OTHERS]).await?;
        let Some(rows) = command.visible() else { return command.not_found().await };
        let held = matches!(rows.record.state, JobState::Held { .. });
        let latest = rows.attempts.last_key_value().map(|(_, attempt)| attempt.clone());
        let Some(attempt) = latest.filter(|_| held) else { return command.refused().await };
        let taken = match resolution {
            Resolution::Decide(verdict) => {
                let open = attempt.state.is_unresolved() && *verdict != Verdict::Retried;
                if open {
                    let decision = Some(Decision { verdict: *verdict, by: by.clone() });
                    command.picture.save_attempt(job, Attempt { decision, ..attempt });
                }
                open
            }
            Resolution::Adopt(provider_job) => command.adopt(&attempt, provider_job).await?,
        };
        if !taken {
            return command.refused().await;
        }
        command.picture.wake(job, None);
        command.done().await
    }

    /// T22.
    pub(super) async fn try_retry(
        &self,
        project: ProjectId,
        job: JobId,
        by: &Arc<str>,
        pool: PoolId,
    ) -> Result<(CommandResult, News), Failure> {
        let mut command = self.command(project, job, &[]).await?;
        let Some(record) = command.visible().map(JobRows::full_record) else { return command.not_found().await };
        let Ok(transition) = apply(&record, Input::Retry(by.clone()), command.picture.now) else {
            return command.refused().await;
        };
        let record = transition.record.clone();
        command.picture.save(transition);
        command.picture.queue(&record, pool);
        command.done().await
    }

    /// Hides a finished job, its outputs and its late attempts.
    pub(super) async fn try_hide(
        &self,
        project: ProjectId,
        job: JobId,
    ) -> Result<(CommandResult, Vec<ArtifactKey>, News), Failure> {
        let mut command = self.command(project, job, &[sql::ARTIFACTS_DELETE]).await?;
        let Some(rows) = command.visible() else {
            return command.not_found().await.map(|(answer, news)| (answer, Vec::new(), news));
        };
        if !rows.record.state.is_terminal() {
            return command.refused().await.map(|(answer, news)| (answer, Vec::new(), news));
        }
        let watches: Vec<WorkKey> = rows.work.keys().filter(|key| key.kind == WorkKind::Watch).copied().collect();
        watches.into_iter().for_each(|key| command.picture.delete_work(key));
        let now = command.picture.now;
        if let Some(rows) = command.picture.job_mut(job) {
            rows.hidden_at = Some(now);
            rows.output = None;
        }
        let keys = forget_outputs(&command.session, job).await?;
        let (answer, news) = command.done().await?;
        Ok((answer, keys, news))
    }
}

impl Command {
    /// A slip of a person is no evidence: what another attempt has is refused, not taken for "not accepted".
    async fn adopt(&mut self, attempt: &Attempt, provider_job: &ProviderJobId) -> Result<bool, Failure> {
        let key = (vec![uuid_of(self.job)], vec![i32::from(attempt.n.0)], vec![provider_job.as_str()]);
        let claimed = self.session.row(sql::CLAIMED_BY_OTHERS, &[&key.0, &key.1, &key.2]).await?;
        if claimed.map_or(Ok(false), |row| get(&row, 1))? {
            return Ok(false);
        }
        let Some(record) = self.picture.job(self.job).map(JobRows::full_record) else { return Ok(false) };
        match merge(&record, attempt, &Evidence::Accepted(provider_job.clone()), false, self.picture.now) {
            Merge::Unchanged => {}
            Merge::Changed { attempt, watch } => {
                let n = attempt.n;
                self.picture.save_attempt(self.job, attempt);
                if watch {
                    self.picture.watch(self.job, n);
                }
            }
            Merge::Orphan(provider_job) => self.picture.add_orphan(self.job, attempt, provider_job),
        }
        Ok(true)
    }
}

/// The keys of what a job had stored, in order.
async fn forget_outputs(session: &Session, job: JobId) -> Result<Vec<ArtifactKey>, Failure> {
    let rows = session.rows(sql::ARTIFACTS_DELETE, &[&uuid_of(job)]).await?;
    let key = |row: &tokio_postgres::Row| {
        Ok((get::<i32>(row, 0)?, get::<i32>(row, 1)?, ArtifactKey::from_stored(get(row, 2)?)))
    };
    let mut keys = rows.iter().map(key).collect::<Read<Vec<_>>>()?;
    keys.sort();
    Ok(keys.into_iter().map(|(.., key)| key).collect())
}
