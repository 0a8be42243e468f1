//! Gates 2 and 3: what a job that completes writes, what a poll that changes nothing writes, and how many updates of
//! `job` stay on their page. The budget counts one webhook, so it is measured without one, with an endpoint that wants to
//! know how jobs end, and with one that wants everything, which is beyond the budget.

use std::path::Path;
use std::time::Duration;

use longtake_core::event::EventKind;
use longtake_core::webhook::EventTypes;
use longtake_testing::sim::Options;

use crate::gateway::account;
use crate::postgres::counters::Written;
use crate::postgres::life::{Life, connect_silently};
use crate::postgres::nodes::Deployment;
use crate::postgres::server::{Server, Sql};
use crate::receiver::{CONFIG, Receivers};
use crate::report::Figure;
use crate::simulator::Simulator;
use crate::{Bench, Outcome};

const ROWS: f64 = 25.0;
const WAL_BYTES: f64 = 8_000.0;
const COMMITS: f64 = 9.0;
const ON_PAGE_PERCENT: f64 = 75.0;
const BATCH: usize = 100;
const BATCHES: usize = 20;
const VIDEOS: u64 = 2_000;
const VIDEOS_QUICK: u64 = 200;
const WORK_MS: u32 = 2_000;
const POLL_MS: u64 = 1_000;
const BOUND: Duration = Duration::from_secs(180);
/// Jobs whose polls change nothing, polled this often.
const WAITING: u64 = 500;
const WAITING_POLL_MS: u64 = 500;
const NEVER_MS: u32 = 86_400_000;
/// Longer than a running backend keeps its counts to itself.
const TOLD: Duration = Duration::from_secs(12);
const WATCH: Duration = Duration::from_secs(10);

/// What one endpoint is told of each job.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Webhook {
    /// There is none.
    None,
    /// How it ends: what most want, and what the budget means.
    Ends,
    Everything,
}

impl Webhook {
    const ALL: [Self; 3] = [Self::None, Self::Ends, Self::Everything];

    const fn words(self) -> &'static str {
        match self {
            Self::None => "no webhook",
            Self::Ends => "one webhook of its end",
            Self::Everything => "a webhook of each event",
        }
    }

    /// For names of databases and folders.
    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Ends => "ends",
            Self::Everything => "everything",
        }
    }

    fn types(self) -> Option<EventTypes> {
        match self {
            Self::None => None,
            Self::Ends => Some(EventTypes::of([EventKind::Completed, EventKind::Failed])),
            Self::Everything => Some(EventTypes::ALL),
        }
    }

    const fn type_names(self) -> &'static [&'static str] {
        match self {
            Self::None | Self::Everything => &[],
            Self::Ends => &["video.completed", "video.failed"],
        }
    }
}

/// What some jobs and their deliveries wrote.
#[derive(Clone, Copy)]
struct Spent {
    written: Written,
    jobs: f64,
    deliveries: f64,
}

impl Spent {
    fn rows(&self) -> f64 {
        self.written.rows as f64 / self.jobs
    }

    fn bytes(&self) -> f64 {
        self.written.wal_bytes as f64 / self.jobs
    }

    fn commits(&self) -> f64 {
        self.written.commits as f64 / self.jobs
    }
}

pub async fn run(bench: &Bench) -> Outcome<Vec<Figure>> {
    let folder = bench.fresh("postgres-budget")?;
    let server = Server::start(bench)?;
    let (mut figures, mut in_batches, mut by_processes) = (Vec::new(), Vec::new(), Vec::new());
    for webhook in Webhook::ALL {
        in_batches.push((webhook, batches(&server, webhook).await?));
    }
    for webhook in Webhook::ALL {
        by_processes.push((webhook, videos(bench, &folder, &server, webhook).await?));
    }
    let how = format!("in batches of {BATCH} through the store");
    figures.extend(budget(&how, &in_batches, Some(BATCH as f64)));
    figures.extend(budget("by an API process and two workers", &by_processes, None));
    if let [(_, spent), ..] = by_processes.as_slice() {
        let on_page = spent.written.on_page_percent();
        figures.push(Figure::absolute(
            "PostgreSQL: updates of `job` that stay on their page (HOT), while videos are made",
            format!("{on_page:.1} %"),
            on_page > ON_PAGE_PERCENT,
            format!("> {ON_PAGE_PERCENT} %"),
        ));
    }
    figures.push(unchanged(bench, &folder, &server).await?);
    Ok(figures)
}

/// The life of batches through the store, each told when it is over.
async fn batches(server: &Server, webhook: Webhook) -> Outcome<Spent> {
    let url = server.database(&format!("batches_{}", webhook.name()));
    let sql = Sql::connect(&url).await?;
    let life = Life::begin(connect_silently(&url, 4).await?).await?;
    if let Some(types) = webhook.types() {
        life.subscribe(types).await?;
    }
    life.whole(BATCH).await?;
    life.deliver(BATCH).await?;
    drop(life);
    let life = Life::begin(connect_silently(&url, 4).await?).await?;
    let (before, mut deliveries) = (Written::settled(&sql).await?, 0);
    for _ in 0..BATCHES {
        if life.whole(BATCH).await? != BATCH {
            return Err("a batch was not taken whole".to_owned());
        }
        deliveries += life.deliver(BATCH).await?;
    }
    drop(life);
    let written = Written::settled(&sql).await?.since(before);
    Ok(Spent { written, jobs: (BATCH * BATCHES) as f64, deliveries: deliveries as f64 })
}

/// Videos through an API process and two workers.
async fn videos(bench: &Bench, folder: &Path, server: &Server, webhook: Webhook) -> Outcome<Spent> {
    let videos = bench.pick(VIDEOS, VIDEOS_QUICK);
    let url = server.database(&format!("videos_{}", webhook.name()));
    let own = folder.join(format!("videos-{}", webhook.name()));
    std::fs::create_dir_all(&own).map_err(|error| format!("{}: {error}", own.display()))?;
    let simulator = Simulator::start(bench, &own, &Options { duration_ms: WORK_MS, ..Options::default() }).await?;
    let config = format!("{CONFIG}{}", account(&simulator.url(), POLL_MS, POLL_MS, ""));
    let deployment = Deployment::new(bench, &own, url.clone(), config);
    let api = deployment.start("api", "api").await?;
    let workers = [deployment.start("worker-a", "worker").await?, deployment.start("worker-b", "worker").await?];
    let receivers = Receivers::start(0).await?;
    if webhook != Webhook::None {
        receivers.subscribe(&api, 0, webhook.type_names()).await?;
    }
    let sql = Sql::connect(&url).await?;
    let before = Written::settled(&sql).await?;
    api.create_many(videos).await?;
    sql.until("select count(*) from work", |left| left == 0, BOUND).await?;
    sql.until("select count(*) from delivery where due_at is not null", |left| left == 0, BOUND).await?;
    api.kill();
    workers.into_iter().for_each(crate::gateway::Gateway::kill);
    let written = Written::settled(&sql).await?.since(before);
    let (completed, deliveries) = (
        sql.number("select count(*) from job where state = 90").await?,
        sql.number("select count(*) from delivery where state = 2").await?,
    );
    if completed != i64::try_from(videos).unwrap_or(i64::MAX) {
        return Err(format!("{completed} of {videos} videos completed"));
    }
    Ok(Spent { written, jobs: videos as f64, deliveries: deliveries as f64 })
}

/// The figures of all kinds of webhooks. Writing transactions are counted for each batch where jobs came in batches.
fn budget(how: &str, spent: &[(Webhook, Spent)], batch: Option<f64>) -> Vec<Figure> {
    let mut figures = Vec::new();
    for (webhook, spent) in spent {
        let what = format!("PostgreSQL: a job that completes, {}, {how}", webhook.words());
        let judged = |what: String, shown: String, value: f64, most: f64, unit: &str| match webhook {
            Webhook::Everything => Figure::stated(what, shown, String::new()),
            Webhook::None | Webhook::Ends => Figure::absolute(what, shown, value <= most, format!("<= {most}{unit}")),
        };
        let (rows, bytes) = (spent.rows(), spent.bytes());
        figures.push(judged(format!("{what}: row writes"), format!("{rows:.1}"), rows, ROWS, ""));
        figures.push(Figure {
            peer: format!("{:.2} of them whole pages", spent.written.whole_pages as f64 / spent.jobs),
            ..judged(format!("{what}: bytes of log"), format!("{bytes:.0} B"), bytes, WAL_BYTES, " B")
        });
        figures.push(match batch {
            Some(batch) => {
                let commits = spent.commits() * batch;
                judged(format!("{what}: commits of a batch"), format!("{commits:.1}"), commits, COMMITS, "")
            }
            None => Figure::stated(
                format!("{what}: writing transactions by the number of jobs"),
                format!("{:.2}", spent.commits()),
                String::new(),
            ),
        });
    }
    if let [(_, without), with @ ..] = spent {
        figures.extend(with.iter().map(|(webhook, with)| added(how, *webhook, without, with)));
    }
    figures
}

/// What each delivery adds to a job without any.
fn added(how: &str, webhook: Webhook, without: &Spent, with: &Spent) -> Figure {
    let each = with.deliveries / with.jobs;
    let per = |with: f64, without: f64| (with - without) / each;
    Figure::stated(
        format!("PostgreSQL: what a delivery adds, {}, {how}", webhook.words()),
        format!(
            "{:.1} row writes, {:.0} B of log, {:.3} writing transactions",
            per(with.rows(), without.rows()),
            per(with.bytes(), without.bytes()),
            per(with.commits(), without.commits())
        ),
        format!("{each:.2} deliveries of a job"),
    )
}

/// Polls that find nothing new.
async fn unchanged(bench: &Bench, folder: &Path, server: &Server) -> Outcome<Figure> {
    let url = server.database("waiting");
    let own = folder.join("waiting");
    std::fs::create_dir_all(&own).map_err(|error| format!("{}: {error}", own.display()))?;
    let simulator = Simulator::start(bench, &own, &Options { duration_ms: NEVER_MS, ..Options::default() }).await?;
    let config = account(&simulator.url(), WAITING_POLL_MS, WAITING_POLL_MS, "");
    let deployment = Deployment::new(bench, &own, url.clone(), config);
    let (api, worker) = (deployment.start("api", "api").await?, deployment.start("worker", "worker").await?);
    let sql = Sql::connect(&url).await?;
    api.create_many(WAITING).await?;
    let all = i64::try_from(WAITING).unwrap_or(i64::MAX);
    sql.until("select count(*) from job where state = 30", |running| running == all, BOUND).await?;
    simulator.record_polls().await?;
    tokio::time::sleep(TOLD).await;
    let (before, polls_before) = (Written::settled(&sql).await?, simulator.count_polls().await?.0);
    tokio::time::sleep(WATCH).await;
    let polls = simulator.count_polls().await?.0.saturating_sub(polls_before);
    tokio::time::sleep(TOLD).await;
    let written = Written::settled(&sql).await?.since(before);
    api.kill();
    worker.kill();
    if polls == 0 {
        return Err("nothing was polled".to_owned());
    }
    Ok(Figure {
        peer: format!("{polls} polls; transactions that wrote, beats among them: {}", written.commits),
        ..Figure::absolute(
            "PostgreSQL: row writes of polls that find nothing new, beats apart",
            written.rows.to_string(),
            written.rows == 0,
            "0",
        )
    })
}
