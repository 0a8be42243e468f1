//! Gate 4: taking 500 rows where few and where a million wait, and looking in vain beside a million owned ones.

use std::time::Instant;

use crate::postgres::fill::{Filler, Owner};
use crate::postgres::life::{Life, connect, of_store};
use crate::postgres::server::{Server, Sql};
use crate::report::Figure;
use crate::stats::Samples;
use crate::{Bench, Outcome};

const BATCH: usize = 500;
const FEW: u64 = 10_000;
const MANY: u64 = 1_000_000;
const MANY_QUICK: u64 = 50_000;
const WARM_UPS: usize = 3;
const TAKES: usize = 9;
const LOOKS: usize = 21;
const TAKE_MS: f64 = 20.0;
const TIMES_OF_FEW: f64 = 2.0;
const LOOK_MS: f64 = 5.0;

/// Milliseconds of a take.
struct Takes {
    queued: Samples,
    due: Samples,
}

pub async fn run(bench: Bench) -> Outcome<Vec<Figure>> {
    let server = Server::start(&bench)?;
    let many = bench.pick(MANY, MANY_QUICK);
    let of_few = takes(&server.database("few"), FEW).await?;
    let of_many = takes(&server.database("many"), many).await?;
    let (look, woken) = looks(&server.database("owned"), many).await?;
    let mut figures = Vec::new();
    for (kind, few, all) in [("due", &of_few.due, &of_many.due), ("queued", &of_few.queued, &of_many.queued)] {
        let what = format!("PostgreSQL: acquire of {BATCH} {kind} rows of {many}, warm");
        let shown = |samples: &Samples| (samples.show(1, " ms"), samples.median());
        figures.push(Figure::absolute(what.clone(), shown(all).0, all.median() <= TAKE_MS, format!("<= {TAKE_MS} ms")));
        figures.push(Figure::at_most(format!("{what}; peer: of {FEW}"), shown(all), shown(few), TIMES_OF_FEW));
    }
    figures.push(Figure::absolute(
        format!("PostgreSQL: acquire in vain beside {many} owned rows"),
        look.show(2, " ms"),
        look.median() <= LOOK_MS,
        format!("<= {LOOK_MS} ms"),
    ));
    let what = format!("PostgreSQL: asking for woken rows in vain among {many} owned ones");
    figures.push(Figure::stated(what, woken.show(2, " ms"), String::new()));
    Ok(figures)
}

async fn takes(url: &str, rows: u64) -> Outcome<Takes> {
    let sql = Sql::connect(url).await?;
    let life = Life::begin(connect(url, 4).await?).await?;
    let filler = Filler::new(&sql, &life).await?.lean();
    filler.queued(rows).await?;
    filler.running(rows, Owner::Due).await?;
    filler.settle().await?;
    Ok(Takes { due: timed(&life, BATCH, 0).await?, queued: timed(&life, 0, BATCH).await? })
}

async fn timed(life: &Life, due: usize, queued: usize) -> Outcome<Samples> {
    let mut times = Samples::default();
    for take in 0..WARM_UPS + TAKES {
        let started = Instant::now();
        let claims = life.acquire(due, queued).await?;
        let took = started.elapsed().as_secs_f64() * 1_000.0;
        if claims.len() != BATCH {
            return Err(format!("{} of {BATCH} rows were taken", claims.len()));
        }
        if take >= WARM_UPS {
            times.push(took);
        }
    }
    Ok(times)
}

/// Looks in vain, for work and for woken rows.
async fn looks(url: &str, rows: u64) -> Outcome<(Samples, Samples)> {
    let sql = Sql::connect(url).await?;
    let life = Life::begin(connect(url, 4).await?).await?;
    let filler = Filler::new(&sql, &life).await?;
    filler.work_of_running(rows, Owner::Executor(life.executor.0)).await?;
    filler.settle().await?;
    let (mut look, mut woken) = (Samples::default(), Samples::default());
    for turn in 0..WARM_UPS + LOOKS {
        let started = Instant::now();
        let found = life.acquire(BATCH, BATCH).await?.len();
        let looked = started.elapsed();
        let told = life.store.woken(life.executor, BATCH).await.map_err(of_store)?.len();
        let asked = started.elapsed().saturating_sub(looked);
        if found + told > 0 {
            return Err(format!("{found} rows were taken and {told} woken where there are none"));
        }
        if turn >= WARM_UPS {
            look.push(looked.as_secs_f64() * 1_000.0);
            woken.push(asked.as_secs_f64() * 1_000.0);
        }
    }
    Ok((look, woken))
}
