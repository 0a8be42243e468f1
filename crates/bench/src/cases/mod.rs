//! The figures, one file each. A case starts everything it needs and leaves nothing running.

mod creates;
mod download;
mod idle;
mod in_flight;
mod jobs;
mod memory;
mod restart;

use std::pin::Pin;

use crate::report::Figure;
use crate::{Bench, Outcome};

type Running<'a> = Pin<Box<dyn Future<Output = Outcome<Vec<Figure>>> + 'a>>;

/// One group of figures.
pub struct Case {
    pub name: &'static str,
    pub title: &'static str,
    pub run: fn(&Bench) -> Running<'_>,
}

const CASES: &[Case] = &[
    Case { name: "idle", title: "a server with nothing to do", run: |bench| Box::pin(idle::run(bench)) },
    Case { name: "creates", title: "durable creates", run: |bench| Box::pin(creates::run(bench)) },
    Case { name: "jobs", title: "jobs from create to stored bytes", run: |bench| Box::pin(jobs::run(bench)) },
    Case { name: "download", title: "downloads beside nginx", run: |bench| Box::pin(download::run(bench)) },
    Case { name: "memory", title: "memory while a large video passes", run: |bench| Box::pin(memory::run(bench)) },
    Case { name: "restart", title: "kill -9 with many jobs in flight", run: |bench| Box::pin(restart::run(bench)) },
    Case { name: "in-flight", title: "many jobs waiting", run: |bench| Box::pin(in_flight::run(bench)) },
];

/// The cases with these names, in our order; all if none is named.
pub fn chosen(names: &[String]) -> Outcome<Vec<&'static Case>> {
    if let Some(stranger) = names.iter().find(|name| CASES.iter().all(|case| case.name != name.as_str())) {
        let known: Vec<&str> = CASES.iter().map(|case| case.name).collect();
        return Err(format!("there is no figure `{stranger}`; there are {}", known.join(", ")));
    }
    Ok(CASES.iter().filter(|case| names.is_empty() || names.iter().any(|name| name == case.name)).collect())
}
