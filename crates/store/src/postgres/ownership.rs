//! Executors: who is alive, who is given up, whose process is provably gone; and rows that are given back.

use longtake_core::failpoint;
use longtake_core::id::{AccountId, ExecutorId, Fence};
use longtake_core::store::{Beat, ExecutorInfo, ExecutorRow, ProcessInfo, Release, Share, WorkKey};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::load::limit_of;
use super::process::{End, end_of};
use super::session::{Failure, Session};
use super::{PostgresStore, sql};
use crate::rows::postgres::{executor_from, get, kind_of, process_from, uuid_of, work_key};
use crate::rows::{Result as Read, micros, unreadable};

/// Incarnations of one host that a new one looks at.
const MAX_OF_HOST: i64 = 1_000;
/// Unowned work of an account that no executor served for so long is anyone's to look at, in microseconds.
const STRAY_AFTER_US: i64 = 600_000_000;

impl PostgresStore {
    /// Begins a new incarnation, and gives up those of its host whose processes are provably gone.
    pub(super) async fn try_register(&self, info: &ExecutorInfo) -> Result<ExecutorId, Failure> {
        let queries: &[&str] = &[sql::EXECUTOR_INSERT, sql::EXECUTORS_OF_HOST, sql::EXECUTORS_GONE];
        let session = self.session(&[queries]).await?;
        let now = self.bound_now();
        let ProcessInfo { host, boot_id, pid_namespace, pid, started_ticks } = &info.process;
        let gone = gone(&session, sql::EXECUTORS_OF_HOST, &info.process, now).await?;
        note_gone(&session, &gone, now).await?;
        let ttl = micros(info.ttl);
        let values: [&(dyn ToSql + Sync); 7] = [host, boot_id, pid_namespace, pid, started_ticks, &ttl, &now];
        let row = session.run_alone(sql::EXECUTOR_INSERT, &values).await?.into_iter().next();
        self.remember_process(&info.process);
        Ok(ExecutorId(get(&row.ok_or_else(|| unreadable("an executor without a number"))?, 0)?))
    }

    /// The sign of life, and what is fair of each account that others drive too.
    pub(super) async fn try_beat(&self, executor: ExecutorId, load: &[(AccountId, u32)]) -> Result<Beat, Failure> {
        let session = self.session(&[&[sql::BEAT, sql::SHARES]]).await?;
        let now = self.bound_now();
        let accounts: Vec<i32> = load.iter().map(|(account, _)| account.0).collect();
        let rows: Vec<i32> = load.iter().map(|(_, rows)| i32::try_from(*rows).unwrap_or(i32::MAX)).collect();
        // A beat that a crash of the database forgets is repeated a moment later.
        let beat = async {
            let (begun, eased, alive, shares) = futures::join!(
                session.begin(),
                session.command("set local synchronous_commit = off"),
                async { session.run(sql::BEAT, &[&executor.0, &now, &accounts, &rows]).await },
                async { session.rows(sql::SHARES, &[&accounts]).await }
            );
            begun?;
            eased?;
            Ok((alive?, shares?))
        };
        let (alive, shares) = session.commit_with(beat).await?;
        if alive == 0 {
            return Ok(Beat::Dead);
        }
        let share = |row: &tokio_postgres::Row| -> Read<Share> {
            let executors = u32::try_from(get::<i32>(row, 2)?).map_err(unreadable)?;
            let rows = u32::try_from(get::<i64>(row, 1)?).unwrap_or(u32::MAX);
            Ok(Share { account: AccountId(get(row, 0)?), rows: rows.div_ceil(executors.max(1)), executors })
        };
        Ok(Beat::Alive(shares.iter().map(share).collect::<Read<_>>()?))
    }

    /// Gives up the silent, takes rows of the dead, and lets anyone look at what nobody serves. How many were taken, and
    /// whether there is anything to be acquired now.
    pub(super) async fn try_reap(&self, limit: usize) -> Result<(usize, bool), Failure> {
        let queries: &[&str] = &[sql::REAP_LOOK, sql::REAP_BEGIN, sql::REAP_SILENT, sql::REAP_ROWS, sql::REAP_STRAYS];
        let session = self.session(&[queries, &[sql::EXECUTORS_SILENT, sql::EXECUTORS_GONE]]).await?;
        let now = self.bound_now();
        let (look, noticed) = futures::join!(
            async { session.row(sql::REAP_LOOK, &[&now, &STRAY_AFTER_US]).await },
            self.notice_the_dead(&session, now)
        );
        noticed?;
        let look = look?;
        if !look.map_or(Ok(false), |row| get(&row, 0))? {
            return Ok((0, false));
        }
        let (begun, alone) =
            futures::join!(session.begin(), async { session.row(sql::REAP_BEGIN, &[&self.bound_now()]).await });
        begun?;
        let alone = alone?.ok_or_else(|| unreadable("a lock without an answer"))?;
        if !get::<bool>(&alone, 0)? {
            session.rollback().await;
            return Ok((0, false));
        }
        let now: i64 = get(&alone, 1)?;
        let limit = limit_of(limit);
        let reaped = async {
            let (silent, rows, strays) = futures::join!(
                async { session.run(sql::REAP_SILENT, &[&now]).await },
                async { session.run(sql::REAP_ROWS, &[&now, &limit]).await },
                async { session.run(sql::REAP_STRAYS, &[&now, &limit, &STRAY_AFTER_US]).await }
            );
            Ok((silent?, rows?, strays?))
        };
        failpoint::hit("C17");
        let (silent, rows, strays) = session.commit_with(reaped).await?;
        if silent > 0 {
            tracing::warn!(silent, "gave up {silent} executors that were silent for longer than their ttl");
        }
        Ok((usize::try_from(rows).unwrap_or(usize::MAX), rows + strays > 0))
    }

    /// Notes of silent incarnations of this very host that their processes are gone, as a new incarnation does when it
    /// begins: after a crash of one process of many, nobody has to be started for that.
    async fn notice_the_dead(&self, session: &Session, now: Option<i64>) -> Result<(), Failure> {
        let Some(here) = self.process() else { return Ok(()) };
        let gone = gone(session, sql::EXECUTORS_SILENT, &here, now).await?;
        note_gone(session, &gone, now).await
    }

    /// Whether the process behind an incarnation provably sends no more. A new proof is kept.
    pub(super) async fn try_sender_is_dead(&self, executor: ExecutorId) -> Result<bool, Failure> {
        let queries: &[&str] = &[sql::EXECUTOR_PROCESS, sql::EXECUTORS_GONE, sql::EXECUTORS_BEFORE];
        let session = self.session(&[queries]).await?;
        let now = self.bound_now();
        if executor == ExecutorId::LOST {
            return self.are_senders_before_dead(&session, now).await;
        }
        let Some(row) = session.row(sql::EXECUTOR_PROCESS, &[&executor.0, &now]).await? else { return Ok(false) };
        if get(&row, 7)? {
            return Ok(true);
        }
        let Some(here) = self.process() else { return Ok(false) };
        if !is_gone(&here, &process_from(&row, 1)?, get(&row, 6)?) {
            return Ok(false);
        }
        session.run_alone(sql::EXECUTORS_GONE, &[&vec![executor.0], &now]).await?;
        Ok(true)
    }

    /// Whether every incarnation from before the quarantine that was given up is provably gone.
    async fn are_senders_before_dead(&self, session: &Session, now: Option<i64>) -> Result<bool, Failure> {
        let rows = session.rows(sql::EXECUTORS_BEFORE, &[&now, &MAX_OF_HOST]).await?;
        let Some(here) = self.process() else { return Ok(rows.is_empty()) };
        let mut gone: Vec<i64> = Vec::new();
        for row in &rows {
            if is_gone(&here, &process_from(row, 1)?, get(row, 6)?) {
                gone.push(get(row, 0)?);
            }
        }
        if !gone.is_empty() {
            session.run_alone(sql::EXECUTORS_GONE, &[&gone, &now]).await?;
        }
        Ok(gone.len() == rows.len())
    }

    /// The newest incarnations.
    pub(super) async fn try_executors(&self, limit: usize) -> Result<Vec<ExecutorRow>, Failure> {
        let session = self.session(&[&[sql::EXECUTORS]]).await?;
        let rows = session.rows(sql::EXECUTORS, &[&limit_of(limit)]).await?;
        Ok(rows.iter().map(executor_from).collect::<Read<_>>()?)
    }

    /// A person's word.
    pub(super) async fn try_confirm_dead(&self, executor: ExecutorId) -> Result<bool, Failure> {
        let session = self.session(&[&[sql::EXECUTOR_CONFIRM]]).await?;
        Ok(session.run(sql::EXECUTOR_CONFIRM, &[&executor.0, &self.bound_now()]).await? == 1)
    }

    /// Every row of one executor.
    pub(super) async fn try_owned(&self, executor: ExecutorId) -> Result<Vec<(WorkKey, Fence)>, Failure> {
        let session = self.session(&[&[sql::OWNED]]).await?;
        let rows = session.rows(sql::OWNED, &[&executor.0]).await?;
        let row = |row: &tokio_postgres::Row| Ok((work_key(row, 0)?, Fence(get(row, 3)?)));
        Ok(rows.iter().map(row).collect::<Read<_>>()?)
    }

    /// Gives rows back. Whether one of them waits for room now.
    pub(super) async fn try_release(&self, executor: ExecutorId, rows: &[Release]) -> Result<bool, Failure> {
        let session = self.session(&[&[sql::RELEASE]]).await?;
        let jobs: Vec<Uuid> = rows.iter().map(|row| uuid_of(row.work.job)).collect();
        let kinds: Vec<i16> = rows.iter().map(|row| kind_of(row.work.kind)).collect();
        let references: Vec<i64> = rows.iter().map(|row| row.work.reference).collect();
        let fences: Vec<i64> = rows.iter().map(|row| row.fence.0).collect();
        let due: Vec<i64> = rows.iter().map(|row| row.due_at.as_micros()).collect();
        let pools: Vec<i32> = rows.iter().map(|row| row.place.pool.0).collect();
        let queued: Vec<bool> = rows.iter().map(|row| row.place.queued).collect();
        let values: [&(dyn ToSql + Sync); 8] =
            [&executor.0, &jobs, &kinds, &references, &fences, &due, &pools, &queued];
        let released = session.run_alone(sql::RELEASE, &values).await?;
        let queued: Vec<bool> = released.iter().map(|row| get(row, 0)).collect::<Read<_>>()?;
        Ok(queued.contains(&true))
    }
}

async fn note_gone(session: &Session, gone: &[i64], now: Option<i64>) -> Result<(), Failure> {
    if !gone.is_empty() {
        session.run_alone(sql::EXECUTORS_GONE, &[&gone, &now]).await?;
        tracing::info!(?gone, "processes of executors of this host are gone");
    }
    Ok(())
}

/// Incarnations of the host of `here` whose processes are provably gone, of those that a query tells of.
async fn gone(
    session: &Session,
    query: &'static str,
    here: &ProcessInfo,
    now: Option<i64>,
) -> Result<Vec<i64>, Failure> {
    let rows = session.rows(query, &[&here.host, &now, &MAX_OF_HOST]).await?;
    let mut gone = Vec::new();
    for row in &rows {
        if is_gone(here, &process_from(row, 1)?, get(row, 6)?) {
            gone.push(get(row, 0)?);
        }
    }
    Ok(gone)
}

/// A kernel that was booted anew is a proof only together with silence: two machines may bear one name.
fn is_gone(here: &ProcessInfo, process: &ProcessInfo, silent: bool) -> bool {
    match end_of(here, process) {
        End::Proved => true,
        End::OtherBoot => silent,
        End::Unknown => false,
    }
}
