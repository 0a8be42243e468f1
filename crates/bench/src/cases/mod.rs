//! The figures, one file each. A case starts everything it needs and leaves nothing running.

mod callbacks;
mod creates;
mod download;
mod idle;
mod in_flight;
mod jobs;
mod listeners;
mod memory;
mod restart;
mod webhooks;

use std::pin::Pin;

use crate::postgres::cases as postgres;
use crate::postgres::threads::on_threads;
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
    Case { name: "callbacks", title: "provider callbacks beside polls", run: |bench| Box::pin(callbacks::run(bench)) },
    Case { name: "download", title: "downloads beside nginx", run: |bench| Box::pin(download::run(bench)) },
    Case { name: "memory", title: "memory while a large video passes", run: |bench| Box::pin(memory::run(bench)) },
    Case { name: "restart", title: "kill -9 with many jobs in flight", run: |bench| Box::pin(restart::run(bench)) },
    Case { name: "in-flight", title: "many jobs waiting", run: |bench| Box::pin(in_flight::run(bench)) },
    Case { name: "listeners", title: "live events at many listeners", run: |bench| Box::pin(listeners::run(bench)) },
    Case { name: "webhooks", title: "webhooks at their receivers", run: |bench| Box::pin(webhooks::run(bench)) },
    Case {
        name: "postgres-creates",
        title: "PostgreSQL: durable creates",
        run: |bench| Box::pin(postgres::creates::run(bench)),
    },
    Case {
        name: "postgres-steps",
        title: "PostgreSQL: decisions beside the raw statement",
        run: |bench| Box::pin(async { on_threads(bench, postgres::steps::run) }),
    },
    Case {
        name: "postgres-acquire",
        title: "PostgreSQL: taking work",
        run: |bench| Box::pin(async { on_threads(bench, postgres::acquire::run) }),
    },
    Case {
        name: "postgres-budget",
        title: "PostgreSQL: what a job writes",
        run: |bench| Box::pin(postgres::budget::run(bench)),
    },
    Case {
        name: "postgres-webhooks",
        title: "PostgreSQL: webhooks at their receivers",
        run: |bench| Box::pin(postgres::webhooks::run(bench)),
    },
    Case {
        name: "postgres-reown",
        title: "PostgreSQL: a worker with many jobs killed",
        run: |bench| Box::pin(postgres::reown::run(bench)),
    },
    Case {
        name: "postgres-feed",
        title: "PostgreSQL: the feed under many writers",
        run: |bench| Box::pin(async { on_threads(bench, postgres::feed::run) }),
    },
    Case {
        name: "postgres-pinned",
        title: "PostgreSQL: an old snapshot held open",
        run: |bench| Box::pin(async { on_threads(bench, postgres::pinned::run) }),
    },
    Case {
        name: "postgres-scale",
        title: "PostgreSQL: beside many rows",
        run: |bench| Box::pin(async { on_threads(bench, postgres::scale::run) }),
    },
    Case {
        name: "postgres-limits",
        title: "PostgreSQL: slots over three workers",
        run: |bench| Box::pin(postgres::limits::run(bench)),
    },
    Case {
        name: "postgres-videos",
        title: "PostgreSQL: videos beside other queues",
        run: |bench| Box::pin(postgres::videos::run(bench)),
    },
];

/// What the names of all that need PostgreSQL begin with; it names all of them.
const POSTGRES: &str = "postgres";

/// The cases with these names, in our order; if none is named, those that need no PostgreSQL.
pub fn chosen(names: &[String]) -> Outcome<Vec<&'static Case>> {
    if let Some(stranger) = names.iter().find(|name| !CASES.iter().any(|case| is_meant(case, name))) {
        let known: Vec<&str> = CASES.iter().map(|case| case.name).chain([POSTGRES]).collect();
        return Err(format!("there is no figure `{stranger}`; there are {}", known.join(", ")));
    }
    let wanted = |case: &&Case| match names {
        [] => !is_meant(case, POSTGRES),
        _ => names.iter().any(|name| is_meant(case, name)),
    };
    Ok(CASES.iter().filter(wanted).collect())
}

fn is_meant(case: &Case, name: &str) -> bool {
    case.name == name || (name == POSTGRES && case.name.starts_with(POSTGRES))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> Vec<&'static str> {
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        chosen(&words).unwrap().iter().map(|case| case.name).collect()
    }

    #[test]
    fn a_common_name_means_all_of_them_and_no_name_the_others() {
        assert!(names(&[]).iter().all(|name| !name.starts_with(POSTGRES)));
        assert!(names(&["postgres"]).iter().all(|name| name.starts_with(POSTGRES)));
        assert_eq!(names(&[]).len() + names(&["postgres"]).len(), CASES.len());
        assert_eq!(names(&["postgres-feed", "idle"]), ["idle", "postgres-feed"]);
        assert!(chosen(&["postgre".to_owned()]).is_err());
    }
}
