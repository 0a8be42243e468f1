//! The invariants (docs/durability.md), read from the rows, the vendor's books and the files of the videos.
//!
//! One function per invariant; each says what it found in words, or nothing. I5 and I11 are about changes, so an
//! [`Observer`] looks at the rows again and again while things go wrong. I9 is of runs with a receiver of webhooks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longtake_core::event::EventKind;
use longtake_testing::sim::Ledger;
use tokio::task::JoinHandle;

use super::artifacts::Artifacts;
use super::db::Db;
use super::feed::FeedReader;
use super::hook::Hook;
use super::until;

type Rows = Vec<Vec<Option<String>>>;
type Found = Result<Vec<String>, String>;

/// What the clients know.
#[derive(Debug, Clone, Default)]
pub struct Acknowledged {
    /// The public id by the client's key; the key is also the whole prompt's beginning.
    pub ids: BTreeMap<String, String>,
    /// Prompts whose client asked for another attempt, so that paying again is its word.
    pub retried: BTreeSet<String>,
}

/// What an audit found.
#[derive(Debug, Default)]
pub struct Findings {
    pub violations: Vec<String>,
    pub lost: usize,
    pub billed_twice: usize,
    pub forgotten: usize,
}

/// Everything an audit looks at.
pub struct Audit<'a> {
    pub db: &'a Arc<Db>,
    pub ledger: Ledger,
    pub artifacts: &'a Artifacts,
    pub acknowledged: &'a Acknowledged,
    pub feed: Option<&'a FeedReader>,
    pub observer: &'a Observer,
    /// Whether the vendor tells about lost submissions.
    pub finds_out: bool,
}

impl Audit<'_> {
    /// All invariants, at rest.
    pub async fn run(&self) -> Result<Findings, String> {
        let (lost, billed_twice, forgotten) = (self.i1_lost().await?, self.billed_twice(), self.i4().await?);
        let mut findings = Findings {
            lost: lost.len(),
            billed_twice: billed_twice.len(),
            forgotten: forgotten.len(),
            violations: [lost, billed_twice, forgotten].concat(),
        };
        let all = [
            self.i1_rows().await?,
            self.i2().await?,
            self.i3().await?,
            self.i6().await?,
            self.i7().await?,
            self.i8().await?,
            self.i10().await?,
            self.observer.broken(),
            self.i12().await?,
        ];
        findings.violations.extend(all.concat());
        Ok(findings)
    }

    async fn rows(&self, sql: &str) -> Result<Rows, String> {
        self.db.rows(sql).await
    }

    /// Each row of this query breaks an invariant.
    async fn none(&self, what: &str, sql: &str) -> Found {
        let rows = self.rows(sql).await?;
        Ok(rows.iter().map(|row| format!("{what}: {}", row.iter().map(text).collect::<Vec<_>>().join(" "))).collect())
    }

    /// I1: what was acknowledged is there.
    async fn i1_lost(&self) -> Found {
        let jobs = self.rows("select id from job").await?;
        let known: BTreeSet<String> = jobs.iter().map(|row| public_id(&text(&row[0]))).collect();
        let ids = self.acknowledged.ids.iter();
        Ok(ids.filter(|(_, id)| !known.contains(*id)).map(|(key, id)| format!("I1: {id} of {key} is lost")).collect())
    }

    /// I1: exactly as much work as there is to do.
    async fn i1_rows(&self) -> Found {
        let drives = "select j.id, j.state, count(w.job) from job j left join work w on w.job = j.id and w.kind = 0 \
                      group by j.id having count(w.job) <> case when j.state < 90 then 1 else 0 end";
        let watches = "select a.job, a.n from attempt a where a.state = 7 and 1 <> \
                       (select count(*) from work w where w.job = a.job and w.kind = 2 and w.ref = a.n)";
        let jobless = "select w.job, w.kind from work w where not exists (select 1 from job j where j.id = w.job)";
        let found = [
            self.none("I1: job, state and rows of work", drives).await?,
            self.none("I1: a late attempt without one watch", watches).await?,
            self.none("I1: work of no job", jobless).await?,
        ];
        Ok(found.concat())
    }

    /// I2: at most one open attempt, and a new one only when the earlier are closed.
    async fn i2(&self) -> Found {
        let open = "select job, count(*) from attempt where state in (1, 2, 4) group by job having count(*) > 1";
        let early = "select a.job, a.n, a.state from attempt a where a.state in (1, 2, 4) and exists \
                     (select 1 from attempt b where b.job = a.job and b.n > a.n)";
        Ok([self.none("I2: open attempts", open).await?, self.none("I2: open below a later one", early).await?]
            .concat())
    }

    /// I3: what is billed under our reference maps to one committed attempt, and to each at most once.
    async fn i3(&self) -> Found {
        let refs = self.rows("select client_ref from attempt").await?;
        let known: BTreeSet<String> = refs.iter().map(|row| text(&row[0])).collect();
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for entry in self.ledger.jobs() {
            if let Some(reference) = &entry.idempotency_key {
                *counts.entry(reference.clone()).or_insert(0) += 1;
            }
        }
        let strange = counts.keys().filter(|reference| !known.contains(*reference));
        let strange = strange.map(|reference| format!("I3: {reference} was billed for no attempt"));
        let twice = counts.iter().filter(|(_, count)| **count > 1);
        let twice = twice.map(|(reference, count)| format!("I3: attempt {reference} was accepted {count} times"));
        Ok(strange.chain(twice).collect())
    }

    /// Nobody pays twice for one video unless its client asked for it.
    fn billed_twice(&self) -> Vec<String> {
        let twice = self.ledger.bought_twice().into_iter();
        let unasked = twice.filter(|(prompt, _)| !self.acknowledged.retried.contains(prompt));
        unasked.map(|(prompt, count)| format!("billed {count} times: {prompt}")).collect()
    }

    /// I4: what is paid is known, or still being found out.
    async fn i4(&self) -> Found {
        let known =
            "select provider_job from attempt where state in (2, 5, 7, 8) union select provider_job from orphan";
        let known: BTreeSet<String> = self.rows(known).await?.iter().map(|row| text(&row[0])).collect();
        let open = "select convert_from(r.req, 'UTF8')::json->>'prompt' from attempt a join job_req r on r.job = a.job \
                    where a.state in (1, 4) or a.state = 6 and exists \
                    (select 1 from work w where w.job = a.job and w.kind = 2 and w.ref = a.n)";
        let open: BTreeSet<String> = self.rows(open).await?.iter().map(|row| text(&row[0])).collect();
        let jobs = self.ledger.jobs();
        let forgotten =
            jobs.iter().filter(|entry| !known.contains(&entry.provider_job) && !open.contains(&entry.prompt));
        Ok(forgotten
            .map(|entry| format!("I4: {} is paid and forgotten ({})", entry.provider_job, entry.prompt))
            .collect())
    }

    /// I6: events are dense, one of them ends each life, and the last one says where the job stands.
    async fn i6(&self) -> Found {
        let jobs = self.rows("select id, state, ver from job").await?;
        let events = "select job, ver, type, body::json->>'state' from event order by job, ver";
        let mut lives: BTreeMap<String, Vec<(i64, i64, i64)>> = BTreeMap::new();
        for row in self.rows(events).await? {
            let event = (number(&row[1]), number(&row[2]), number(&row[3]));
            lives.entry(text(&row[0])).or_default().push(event);
        }
        let mut found = Vec::new();
        for row in &jobs {
            let (job, state, ver) = (text(&row[0]), number(&row[1]), number(&row[2]));
            let events = lives.get(&job).map_or(&[][..], Vec::as_slice);
            if let Some(problem) = broken_life(events, state, ver) {
                found.push(format!("I6: {job}: {problem}: {events:?}"));
            }
        }
        Ok(found)
    }

    /// I7: the reader that resumes has seen every event, in order per video.
    pub async fn i7(&self) -> Found {
        let Some(feed) = self.feed else { return Ok(Vec::new()) };
        let events = self.rows("select job, ver from event").await?;
        let wanted: BTreeSet<(String, u32)> =
            events.iter().map(|row| (public_id(&text(&row[0])), u32::try_from(number(&row[1])).unwrap_or(0))).collect();
        // What was committed a moment ago is still on its way; a transaction that pins the horizon delays it.
        let told = until!("the feed told everything", FEED_BOUND, feed.missing(&wanted).is_empty()).await;
        let missing = told.err().map(|_| format!("I7: the feed never told {:?}", feed.missing(&wanted)));
        let disorder = feed.disorder().into_iter().map(|what| format!("I7: {what}"));
        Ok(missing.into_iter().chain(disorder).collect())
    }

    /// I8: what counts as completed is there, whole.
    async fn i8(&self) -> Found {
        let bare = "select j.id from job j where j.state = 90 and not exists (select 1 from artifact a join attempt t \
                    on t.job = a.job and t.n = a.attempt and t.state = 8 where a.job = j.id and a.n = 0)";
        let mut found = self.none("I8: completed without a video", bare).await?;
        for row in self.rows("select key, bytes, encode(sha256, 'hex') from artifact").await? {
            let key = text(&row[0]);
            let Some(bytes) = self.artifacts.read(&key) else {
                found.push(format!("I8: there is no object {key}"));
                continue;
            };
            let digest = longtake_core::artifact::Digest(longtake::http::auth::sha256(&bytes)).to_string();
            if bytes.len().to_string() != text(&row[1]) || digest != text(&row[2]) {
                found.push(format!("I8: the object {key} is another"));
            }
        }
        Ok(found)
    }

    /// I10: one key, one video.
    async fn i10(&self) -> Found {
        let ids: BTreeSet<&String> = self.acknowledged.ids.values().collect();
        let mut found = Vec::new();
        if ids.len() != self.acknowledged.ids.len() {
            found.push("I10: two keys, one video".to_owned());
        }
        let jobs = self.db.number("select count(*) from job").await?;
        if usize::try_from(jobs).unwrap_or(0) != ids.len() {
            found.push(format!("I10: {jobs} videos for {} keys", ids.len()));
        }
        Ok(found)
    }

    /// I12: everything came to rest, and the dead own nothing.
    async fn i12(&self) -> Found {
        let live = "select id, state from job where state < 90 and state <> 27";
        let watched = watched(self.finds_out);
        let left = format!(
            "select job, kind, ref from work w where {watched} or kind <> 2 and not exists \
                    (select 1 from job j where j.id = w.job and j.state < 90)"
        );
        let dead = "select w.job, w.owner from work w join executor e on e.id = w.owner where e.dead_at is not null";
        let found = [
            self.none("I12: still live at rest", live).await?,
            self.none("I12: work left at rest", &left).await?,
            self.none("I12: owned by the dead", dead).await?,
        ];
        Ok(found.concat())
    }
}

/// Work on a late attempt that is not over. One that is in doubt, or was given up at somebody's word, sleeps until its watch
/// limit where nobody can find out anything: the vendor offers nothing, or its sender lives and might send yet (R7).
fn watched(finds_out: bool) -> String {
    format!(
        "w.kind = 2 and exists (select 1 from attempt a where a.job = w.job and a.n = w.ref and not (a.state in (4, 6) \
         and (not {finds_out} or exists (select 1 from executor e where e.id = a.executor and e.process_dead_at is null))))"
    )
}

/// Waits until nothing is under way; what is held counts as resting where `held` says so.
pub async fn rest(db: &Arc<Db>, held: bool, finds_out: bool, bound: Duration) -> Result<(), String> {
    let watched = watched(finds_out);
    let resting = if held { "27, 90, 91, 92" } else { "90, 91, 92" };
    let live = format!(
        "select (select count(*) from job where state not in ({resting})) + (select count(*) from work w where {watched})"
    );
    let outcome = until!("everything comes to rest", bound, db.number(&live).await == Ok(0)).await;
    if let Err(problem) = outcome {
        let rows = "select j.id, j.state, w.kind, w.owner, w.due_at - now_us(), w.queued, a.n, a.state, a.executor \
                    from job j left join work w on w.job = j.id left join attempt a on a.job = j.id \
                    where j.state < 90 or w.job is not null limit 20";
        let left = db.rows(rows).await?;
        let executors =
            db.rows("select id, pid, dead_at is not null, process_dead_at is not null from executor").await?;
        return Err(format!("{problem}: {left:?}; executors: {executors:?}"));
    }
    Ok(())
}

/// How long webhooks may take at rest: a lease, and a retry after a receiver that was down.
const HOOK_BOUND: Duration = Duration::from_secs(60);

/// I9: one delivery for each event, each ends delivered, under one id, first tries in the order of the events.
pub async fn i9(db: &Arc<Db>, hook: &Hook) -> Found {
    let pending = "select count(*) from delivery where state = 1";
    let delivered = until!("all webhooks are delivered", HOOK_BOUND, db.number(pending).await == Ok(0)).await;
    if let Err(problem) = delivered {
        let left =
            "select job, ver, tries, due_at - now_us(), due_at - begun_at from delivery where state = 1 limit 10";
        return Err(format!("{problem}: {:?}", db.rows(left).await?));
    }
    let (taken, mut wrong) = hook.books();
    let others = db.number("select count(*) from delivery where state <> 2").await?;
    if others > 0 {
        wrong.push(format!("I9: {others} deliveries ended otherwise"));
    }
    let rows = db
        .rows(
            "select e.job, e.ver, (select count(*) from delivery d where d.job = e.job and d.ver = e.ver) from event e",
        )
        .await?;
    for row in rows {
        let id = format!("evt_{}_{}", public_id(&text(&row[0])), text(&row[1]));
        if text(&row[2]) != "1" {
            wrong.push(format!("I9: {id} has {} deliveries", text(&row[2])));
        }
        if !taken.contains_key(&id) {
            wrong.push(format!("I9: {id} never came"));
        }
    }
    Ok(wrong)
}

/// How long the feed may lag at rest; longer than a pinned horizon lasts.
const FEED_BOUND: Duration = Duration::from_secs(25);

fn broken_life(events: &[(i64, i64, i64)], state: i64, ver: i64) -> Option<String> {
    let dense = events.iter().enumerate().all(|(place, event)| event.0 == i64::try_from(place).unwrap_or(0) + 1);
    if !dense || i64::try_from(events.len()).unwrap_or(0) != ver {
        return Some(format!("its events are not 1 to {ver}"));
    }
    let mut ended = false;
    for (_, kind, _) in events {
        let Some(kind) = i16::try_from(*kind).ok().and_then(EventKind::from_number) else {
            return Some(format!("an event of no kind: {kind}"));
        };
        if ended && !matches!(kind, EventKind::Queued | EventKind::LateResult) {
            return Some("something follows its end".to_owned());
        }
        ended = kind.is_terminal() || (ended && kind == EventKind::LateResult);
    }
    let last = events.last().map_or(0, |event| event.2);
    if last != state || ended != (state >= 90) {
        return Some(format!("its last event does not say {state}"));
    }
    None
}

fn text(cell: &Option<String>) -> String {
    cell.clone().unwrap_or_default()
}

fn number(cell: &Option<String>) -> i64 {
    cell.as_deref().and_then(|text| text.parse().ok()).unwrap_or(-1)
}

/// The id that clients see.
pub fn public_id(uuid: &str) -> String {
    format!("video_{}", uuid.replace('-', ""))
}

/// Looks at fences and attempts from time to time (I5, I11).
pub struct Observer {
    seen: Arc<Mutex<Changes>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Changes {
    fences: BTreeMap<String, i64>,
    attempts: BTreeMap<String, i64>,
    broken: Vec<String>,
}

/// Between two looks.
const OBSERVE: Duration = Duration::from_millis(200);

impl Observer {
    pub fn start(db: &Arc<Db>) -> Self {
        let seen = Arc::<Mutex<Changes>>::default();
        let (db, told) = (Arc::clone(db), Arc::clone(&seen));
        let task = tokio::spawn(async move {
            let mut tick = tokio::time::interval(OBSERVE);
            tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                // One statement, one snapshot. The database may be down at the moment.
                let sql = "select 'w', job || ' ' || kind || ' ' || ref, fence from work \
                           union all select 'w', id || ' floor', fence_floor from job \
                           union all select 'a', job || ' ' || n, state from attempt";
                if let Ok(rows) = db.rows(sql).await {
                    told.lock().unwrap().take(&rows);
                }
            }
        });
        Self { seen, task }
    }

    /// After a failover that lost the newest changes, what was seen says nothing.
    pub fn forget(&self) {
        let mut seen = self.seen.lock().unwrap();
        (seen.fences, seen.attempts) = Default::default();
    }

    /// Claims are committed without waiting for the disk or a standby: after a failover their fences may be given again.
    pub fn forget_fences(&self) {
        self.seen.lock().unwrap().fences.clear();
    }

    fn broken(&self) -> Vec<String> {
        self.seen.lock().unwrap().broken.clone()
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Changes {
    fn take(&mut self, rows: &Rows) {
        for row in rows {
            let (key, value) = (text(&row[1]), number(&row[2]));
            if text(&row[0]) == "w" {
                let before = self.fences.insert(key.clone(), value).unwrap_or(value);
                if value < before {
                    self.broken.push(format!("I5: the fence of {key} fell from {before} to {value}"));
                }
            } else {
                let before = self.attempts.insert(key.clone(), value).unwrap_or(value);
                if before != value && !may_become(before).contains(&value) {
                    self.broken.push(format!("I11: attempt {key} went from {before} to {value}"));
                }
            }
        }
    }
}

/// What an attempt in this state may be found as later.
const fn may_become(state: i64) -> &'static [i64] {
    match state {
        1 => &[2, 3, 4, 5, 6, 7, 8],
        4 => &[2, 3, 5, 6, 7, 8],
        3 => &[2, 5, 7, 8],
        6 => &[5, 7, 8],
        2 => &[5, 7, 8],
        7 => &[5, 8],
        _ => &[],
    }
}
