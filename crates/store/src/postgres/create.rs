//! T1: jobs made durable by one statement, in one round trip; one more where clients gave keys, which may be known.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use longtake_core::failpoint;
use longtake_core::id::{JobId, ProjectId};
use longtake_core::record::Record;
use longtake_core::request::VideoRequest;
use longtake_core::store::{CreateResult, Job, NewJob};
use longtake_core::time::Timestamp;
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::load;
use super::picture::News;
use super::saves::text;
use super::session::{Failure, MAX_REPEATS, Session, pause};
use super::{PostgresStore, sql};
use crate::rows::postgres::{get, job_id, types_of, uuid_of};
use crate::rows::{metadata_text, micros, request_bytes, snapshot_text, unreadable};

/// A job to be created, with its JSON made once.
pub(super) struct Draft {
    new: NewJob,
    request: Arc<VideoRequest>,
    bytes: Vec<u8>,
    metadata: Option<String>,
    body: String,
}

impl Draft {
    /// Makes the columns of a new job.
    pub fn new(new: NewJob) -> crate::rows::Result<Self> {
        let request = Arc::new(new.request.clone());
        // A queued job's snapshot shows no time, so any will do.
        let record = Record::new(new.job, new.project, &request, new.deadline, Timestamp::from_micros(0));
        Ok(Self {
            bytes: request_bytes(&request)?,
            metadata: metadata_text(&request.metadata)?,
            body: snapshot_text(&record.snapshot(None))?,
            request,
            new,
        })
    }
}

/// What is to become of a draft.
enum Plan {
    /// Made.
    New,
    /// As an earlier one of the same call.
    Again(JobId),
    /// There is this job already.
    Known(JobId),
    /// The key was used for other fields.
    Reused(JobId),
}

/// What is known before.
#[derive(Default)]
struct Known {
    keys: BTreeMap<(ProjectId, Box<str>), ([u8; 32], JobId)>,
    jobs: BTreeSet<JobId>,
}

impl PostgresStore {
    /// Creates jobs, or says what they are already.
    pub(super) async fn create_all(&self, drafts: &[Draft]) -> Result<(Vec<CreateResult>, News), Failure> {
        let mut look_first = drafts.iter().any(|draft| draft.new.idempotency.is_some());
        let mut repeats = 0;
        loop {
            match self.try_create(drafts, look_first).await {
                // Somebody was faster with a key or an id: now it is known.
                Err(failure) if repeats < MAX_REPEATS && (failure.is_duplicate() || failure.is_passing()) => {
                    look_first = true;
                    repeats += 1;
                    pause(self.random.as_ref()).await;
                }
                answer => return answer,
            }
        }
    }

    async fn try_create(&self, drafts: &[Draft], look_first: bool) -> Result<(Vec<CreateResult>, News), Failure> {
        let session = self.session(&[&[sql::CREATE, sql::CREATE_KNOWN, sql::VIEWS]]).await?;
        let known = if look_first { known(&session, drafts).await? } else { Known::default() };
        let plans = plan(drafts, known);
        let known: Vec<JobId> =
            plans.iter().filter_map(|plan| if let Plan::Known(job) = plan { Some(*job) } else { None }).collect();
        let seen: BTreeMap<JobId, Job> =
            load::views(&session, &known).await?.into_iter().map(|(job, _)| (job.record.job, job)).collect();
        // A key may be read a moment before retention takes it along with its job.
        if known.iter().any(|job| !seen.contains_key(job)) {
            return Err(Failure::Removed);
        }
        let new: Vec<&Draft> = (drafts.iter().zip(&plans))
            .filter_map(|(draft, plan)| matches!(plan, Plan::New).then_some(draft))
            .collect();
        let mut created: BTreeMap<JobId, Job> = BTreeMap::new();
        if !new.is_empty() {
            failpoint::hit("C1");
            let now = insert(&session, &new, self.bound_now()).await?;
            failpoint::hit("C2");
            created.extend(new.iter().map(|draft| (draft.new.job, created_job(draft, now))));
        }
        let mut news = News::default();
        let mut answers = Vec::with_capacity(drafts.len());
        for (draft, plan) in drafts.iter().zip(plans) {
            let lost = || unreadable("a key without its job");
            answers.push(match plan {
                Plan::New => {
                    news.events.push((draft.new.job, 1));
                    news.woken = true;
                    CreateResult::Created(created.get(&draft.new.job).cloned().ok_or_else(lost)?)
                }
                Plan::Again(job) => CreateResult::Replayed(created.get(&job).cloned().ok_or_else(lost)?),
                Plan::Known(job) => CreateResult::Replayed(seen.get(&job).cloned().ok_or_else(lost)?),
                Plan::Reused(job) => CreateResult::KeyReused(job),
            });
        }
        Ok((answers, news))
    }
}

async fn known(session: &Session, drafts: &[Draft]) -> Result<Known, Failure> {
    let projects: Vec<i64> = drafts.iter().map(|draft| draft.new.project.0).collect();
    let keys: Vec<Option<&str>> =
        drafts.iter().map(|draft| draft.new.idempotency.as_ref().map(|idempotency| &*idempotency.key)).collect();
    let jobs: Vec<Uuid> = drafts.iter().map(|draft| uuid_of(draft.new.job)).collect();
    let mut known = Known::default();
    for row in session.rows(sql::CREATE_KNOWN, &[&projects, &keys, &jobs]).await? {
        let place = usize::try_from(get::<i64>(&row, 0)? - 1).unwrap_or(usize::MAX);
        let idempotency = drafts.get(place).and_then(|draft| draft.new.idempotency.as_ref().map(|key| (draft, key)));
        if let (Some(fingerprint), Some((draft, idempotency))) = (get::<Option<&[u8]>>(&row, 1)?, idempotency) {
            let fingerprint = fingerprint.try_into().map_err(unreadable)?;
            let key = (draft.new.project, idempotency.key.clone());
            known.keys.insert(key, (fingerprint, job_id(&row, 2)?));
        }
        if get::<Option<Uuid>>(&row, 3)?.is_some() {
            known.jobs.insert(job_id(&row, 3)?);
        }
    }
    Ok(known)
}

/// Decides in order: what an earlier draft of the call makes is known to the later ones.
fn plan(drafts: &[Draft], mut known: Known) -> Vec<Plan> {
    let mut made: BTreeSet<JobId> = BTreeSet::new();
    let mut plans = Vec::with_capacity(drafts.len());
    for draft in drafts {
        let new = &draft.new;
        let key = new.idempotency.as_ref().map(|idempotency| (new.project, idempotency.key.clone()));
        let stands_for = key.as_ref().and_then(|key| known.keys.get(key)).copied();
        let fingerprint = new.idempotency.as_ref().map(|idempotency| idempotency.fingerprint);
        plans.push(match stands_for {
            Some((of, job)) if Some(of) != fingerprint => Plan::Reused(job),
            Some((_, job)) if made.contains(&job) => Plan::Again(job),
            Some((_, job)) => Plan::Known(job),
            // Without a key the job's id makes a create repeatable.
            None if made.contains(&new.job) => Plan::Again(new.job),
            None if known.jobs.contains(&new.job) => Plan::Known(new.job),
            None => {
                made.insert(new.job);
                if let (Some(key), Some(fingerprint)) = (key, fingerprint) {
                    known.keys.insert(key, (fingerprint, new.job));
                }
                Plan::New
            }
        });
    }
    plans
}

/// Inserts all rows of new jobs. The time of it.
async fn insert(session: &Session, new: &[&Draft], now: Option<i64>) -> Result<Timestamp, Failure> {
    let mut sorted = new.to_vec();
    sorted.sort_by_key(|draft| draft.new.job);
    let column = |of: fn(&Draft) -> i64| -> Vec<i64> { sorted.iter().map(|draft| of(draft)).collect() };
    let ids: Vec<Uuid> = sorted.iter().map(|draft| uuid_of(draft.new.job)).collect();
    let projects = column(|draft| draft.new.project.0);
    let models: Vec<String> = sorted.iter().map(|draft| text(&draft.request.model)).collect();
    let priorities: Vec<i16> = sorted.iter().map(|draft| draft.request.priority).collect();
    let deadlines: Vec<Option<i64>> = sorted.iter().map(|draft| draft.new.deadline.map(micros)).collect();
    let pools: Vec<i32> = sorted.iter().map(|draft| draft.new.pool.0).collect();
    let metadata: Vec<Option<&str>> = sorted.iter().map(|draft| draft.metadata.as_deref()).collect();
    let inputs: Vec<Option<&str>> =
        sorted.iter().map(|draft| draft.request.input.as_ref().map(|input| input.key.as_str())).collect();
    let requests: Vec<&[u8]> = sorted.iter().map(|draft| &*draft.bytes).collect();
    let bodies: Vec<&str> = sorted.iter().map(|draft| &*draft.body).collect();
    let mut keys: Vec<_> = (sorted.iter())
        .filter_map(|draft| draft.new.idempotency.as_ref().map(|key| (draft.new.project.0, key, draft.new.job)))
        .collect();
    // In order, so that two calls with the same keys do not wait for each other.
    keys.sort_by(|one, other| (one.0, &one.1.key).cmp(&(other.0, &other.1.key)));
    let key_projects: Vec<i64> = keys.iter().map(|(project, ..)| *project).collect();
    let key_texts: Vec<&str> = keys.iter().map(|(_, key, _)| &*key.key).collect();
    let fingerprints: Vec<&[u8]> = keys.iter().map(|(_, key, _)| &key.fingerprint[..]).collect();
    let key_jobs: Vec<Uuid> = keys.iter().map(|(.., job)| uuid_of(*job)).collect();
    let hooks: Vec<Option<i64>> =
        sorted.iter().map(|draft| draft.request.webhook.as_ref().map(|webhook| webhook.endpoint.0)).collect();
    let hook_types: Vec<Option<i32>> =
        sorted.iter().map(|draft| draft.request.webhook.as_ref().map(|webhook| types_of(webhook.types))).collect();
    let values: [&(dyn ToSql + Sync); 17] = [
        &now,
        &ids,
        &projects,
        &models,
        &priorities,
        &deadlines,
        &pools,
        &metadata,
        &inputs,
        &requests,
        &bodies,
        &key_projects,
        &key_texts,
        &fingerprints,
        &key_jobs,
        &hooks,
        &hook_types,
    ];
    let row = session.run_alone(sql::CREATE, &values).await?.into_iter().next();
    let at = get(&row.ok_or_else(|| unreadable("a create without its time"))?, 0)?;
    Ok(Timestamp::from_micros(at))
}

fn created_job(draft: &Draft, now: Timestamp) -> Job {
    let new = &draft.new;
    let record = Record::new(new.job, new.project, &draft.request, new.deadline, now);
    Job { record, request: draft.request.clone(), output: None }
}
