//! A server with nothing to do: its memory, its start, its wake-ups.

use std::time::Duration;

use crate::gateway::Gateway;
use crate::process::{cpu_ms, resident_kib, sleeps};
use crate::report::Figure;
use crate::stats::Samples;
use crate::{Bench, Outcome};

const RESIDENT_MIB: f64 = 40.0;
const READY_MS: f64 = 300.0;
const STARTS: usize = 5;
const STARTS_QUICK: usize = 2;
const SETTLE: Duration = Duration::from_secs(2);
const WATCH: Duration = Duration::from_secs(10);
const WATCH_QUICK: Duration = Duration::from_secs(3);

pub async fn run(bench: &Bench) -> Outcome<Vec<Figure>> {
    let folder = bench.fresh("idle")?;
    let (mut first, mut again) = (Samples::default(), Samples::default());
    for start in 0..bench.pick(STARTS, STARTS_QUICK) {
        let data = folder.join(format!("data-{start}"));
        for samples in [&mut first, &mut again] {
            let gateway = Gateway::start(bench, &folder, &data, "").await?;
            samples.push(gateway.ready_after.as_secs_f64() * 1_000.0);
            gateway.kill();
        }
    }
    let gateway = Gateway::start(bench, &folder, &folder.join("data-0"), "").await?;
    tokio::time::sleep(SETTLE).await;
    let watch = bench.pick(WATCH, WATCH_QUICK);
    let (cpu, slept) = (cpu_ms(gateway.pid())?, sleeps(gateway.pid())?);
    tokio::time::sleep(watch).await;
    let cpu = cpu_ms(gateway.pid())?.saturating_sub(cpu) as f64 / watch.as_secs_f64();
    let slept = sleeps(gateway.pid())?.saturating_sub(slept) as f64 / watch.as_secs_f64();
    let resident = resident_kib(gateway.pid())? as f64 / 1_024.0;
    gateway.kill();
    let ready = |what, samples: &Samples| {
        Figure::absolute(what, samples.show(0, " ms"), samples.median() <= READY_MS, "<= 300 ms")
    };
    Ok(vec![
        Figure::absolute("idle server, resident", format!("{resident:.1} MiB"), resident <= RESIDENT_MIB, "<= 40 MiB"),
        ready("start to ready, new data directory", &first),
        ready("start to ready, after kill -9", &again),
        Figure::stated(
            "idle server, wake-ups and CPU",
            format!("{slept:.1} wake-ups/s, {cpu:.1} ms CPU/s"),
            String::new(),
        ),
    ])
}
