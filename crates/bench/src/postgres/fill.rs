//! Rows by the million, written by the database itself. They are what the store would have written, in one place less:
//! one event for each job, since nothing measured here reads old ones.

use super::life::{Life, MODEL};
use super::server::Sql;
use crate::Outcome;

/// Rows of one statement.
const CHUNK: u64 = 250_000;
/// Ids begin at these times, in milliseconds since the Unix epoch: before every real one, each kind apart.
const FINISHED_FROM: u64 = 1_600_000_000_000;
const QUEUED_FROM: u64 = 1_620_000_000_000;
const RUNNING_FROM: u64 = 1_640_000_000_000;
const NEVER: &str = "9223372036854775807";

/// What a filled row is made from: a job that went through the store.
pub struct Filler<'a> {
    sql: &'a Sql,
    account: i32,
    pool: i32,
    /// Without requests and events.
    lean: bool,
}

/// Who has a running job.
#[derive(Debug, Clone, Copy)]
pub enum Owner {
    Executor(i64),
    /// Nobody: it is due.
    Due,
}

impl<'a> Filler<'a> {
    /// Takes a whole life as the sample.
    pub async fn new(sql: &'a Sql, life: &Life) -> Outcome<Self> {
        life.whole(1).await?;
        sql.run(
            "create table sample as select r.req, e.body from job_req r join event e using (job) where e.ver = 1 limit 1;
             create function nth_job(base bigint, i bigint) returns uuid language sql immutable as
             $$ select (lpad(to_hex(base + i / 16), 12, '0') || '7' || lpad(to_hex(i % 4096), 3, '0') || '8000'
                        || lpad(to_hex(i), 12, '0'))::uuid $$;",
        )
        .await?;
        Ok(Self { sql, account: life.account.0, pool: life.pool.0, lean: false })
    }

    /// Leaves out requests and events, which who takes work does not look at.
    #[must_use]
    pub const fn lean(mut self) -> Self {
        self.lean = true;
        self
    }

    /// Completed jobs with request, attempt, output and their last event.
    pub async fn finished(&self, count: u64) -> Outcome {
        self.jobs(FINISHED_FROM, count, "90, 5, now_us() - 86400000000, now_us() - 86000000000").await?;
        self.attempts(FINISHED_FROM, count, 8).await?;
        self.chunks(FINISHED_FROM, count, |series, job| {
            format!(
                "insert into artifact select {job}, 1, 0, '1/' || {job} || '/1/0-1.mp4', 65536, decode(repeat('07', 32), 'hex'),
                 'video/mp4', 1280, 720, 4000, 96, 'avc1' {series}"
            )
        })
        .await
    }

    /// Queued jobs, over ten projects.
    pub async fn queued(&self, count: u64) -> Outcome {
        self.jobs(QUEUED_FROM, count, "10, 1, now_us(), null").await?;
        let pool = self.pool;
        self.chunks(QUEUED_FROM, count, |series, job| {
            format!(
                "insert into work (job, kind, ref, due_at, pool, queued, priority, project)
                 select {job}, 0, 0, {NEVER}, {pool}, true, 0, 1 + i % 10 {series}"
            )
        })
        .await
    }

    /// Jobs that the provider works on, each under the name `filled_N`.
    pub async fn running(&self, count: u64, owner: Owner) -> Outcome {
        self.jobs(RUNNING_FROM, count, "30, 3, now_us(), null").await?;
        self.attempts(RUNNING_FROM, count, 2).await?;
        self.work_of_running(count, owner).await
    }

    /// Only what acquire and beats look at.
    pub async fn work_of_running(&self, count: u64, owner: Owner) -> Outcome {
        let pool = self.pool;
        let (owner, due) = match owner {
            Owner::Executor(id) => (id.to_string(), NEVER),
            Owner::Due => ("null".to_owned(), "now_us() - 1000000"),
        };
        self.chunks(RUNNING_FROM, count, |series, job| {
            format!(
                "insert into work (job, kind, ref, due_at, owner, fence, pool, queued, priority, project)
                 select {job}, 0, 0, {due}, {owner}, 1, {pool}, false, 0, 1 + i % 10 {series}"
            )
        })
        .await
    }

    async fn jobs(&self, base: u64, count: u64, state: &str) -> Outcome {
        self.chunks(base, count, |series, job| {
            format!(
                "insert into job (id, project, model, priority, attempts_used, state, ver, created_at, finished_at)
                 select {job}, 1 + i % 10, 'sim', 0, 0, {state} {series}"
            )
        })
        .await?;
        if self.lean {
            return Ok(());
        }
        self.chunks(base, count, |series, job| {
            format!("insert into job_req (job, req) select {job}, (select req from sample) {series}")
        })
        .await?;
        self.chunks(base, count, |series, job| {
            format!(
                "insert into event (job, ver, project, type, at, body)
                 select {job}, 1, 1 + i % 10, 1, now_us(), (select body from sample) {series}"
            )
        })
        .await
    }

    async fn attempts(&self, base: u64, count: u64, state: u8) -> Outcome {
        let account = self.account;
        let word = if state == 2 { "filled" } else { "finished" };
        self.chunks(base, count, |series, job| {
            format!(
                "insert into attempt (job, n, state, executor, nonce, account, model, client_ref, provider_job, intent_at,
                                      send_deadline_at, resolved_at)
                 select {job}, 1, {state}, 1, i, {account}, '{MODEL}', lpad(i::text, 26, 'a'), '{word}_' || i, now_us(),
                        now_us() + 60000000, now_us() {series}"
            )
        })
        .await
    }

    async fn chunks(&self, base: u64, count: u64, statement: impl Fn(&str, &str) -> String) -> Outcome {
        let mut from = 0;
        while from < count {
            let to = (from + CHUNK).min(count);
            let series = format!("from generate_series({from}::bigint, {}::bigint) as i", to - 1);
            self.sql.run(&statement(&series, &format!("nth_job({base}, i)"))).await?;
            from = to;
        }
        Ok(())
    }

    /// Statistics and visibility, as a table that grew over days has them.
    pub async fn settle(&self) -> Outcome {
        self.sql.run("vacuum analyze").await
    }
}
