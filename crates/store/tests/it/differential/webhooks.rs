//! Operations on endpoints and deliveries. They have dice of their own and change nothing about jobs.

use std::collections::BTreeMap;
use std::time::Duration;

use longtake_core::event::EventKind;
use longtake_core::id::{DeliveryId, EndpointId, ProjectId};
use longtake_core::webhook::{
    Answer, Dialect, Due, EndpointChange, EventTypes, NewEndpoint, Room, Tried, Try, VideoWebhook,
};
use longtake_core::webhook_store::WebhookStore;

use super::World;
use crate::given::Seeded;

/// Most endpoints that are made; the rest is done with them.
const MAX_ENDPOINTS: usize = 8;
/// Old takes are kept to be finished late, and twice.
const MAX_DUE: usize = 24;

/// What is known of webhooks.
pub(super) struct Hooks {
    dice: Seeded,
    endpoints: Vec<(ProjectId, EndpointId)>,
    origins: Vec<EndpointId>,
    due: Vec<Due>,
    deliveries: Vec<(ProjectId, EndpointId, DeliveryId)>,
}

impl Hooks {
    pub fn new(seed: u64) -> Self {
        Self {
            dice: Seeded::new(seed ^ 0x7eb_400c),
            endpoints: Vec::new(),
            origins: Vec::new(),
            due: Vec::new(),
            deliveries: Vec::new(),
        }
    }

    fn below(&self, bound: usize) -> usize {
        use longtake_core::id::Random;
        usize::try_from(self.dice.below(u64::try_from(bound).unwrap())).unwrap()
    }

    fn one_in(&self, chance: usize) -> bool {
        self.below(chance) == 0
    }

    fn pick<T: Clone>(&self, from: &[T]) -> Option<T> {
        if from.is_empty() { None } else { Some(from[self.below(from.len())].clone()) }
    }

    fn types(&self) -> EventTypes {
        if self.one_in(2) {
            return EventTypes::ALL;
        }
        EventTypes::of(EventKind::ALL.into_iter().filter(|_| self.one_in(2)))
    }

    /// Sometimes a video has one of its own.
    pub fn video(&self) -> Option<VideoWebhook> {
        let endpoint = self.pick(&self.origins).filter(|_| self.one_in(3))?;
        let (url, headers) = ("https://own.example.com/".into(), BTreeMap::new());
        Some(VideoWebhook { endpoint, url, types: self.types(), dialect: Dialect::ConduitA, headers })
    }

    fn change(&self) -> EndpointChange {
        EndpointChange {
            url: self.one_in(6).then(|| format!("https://{}.example.com", self.below(9)).into()),
            types: self.one_in(4).then(|| self.types()),
            description: self.one_in(4).then(|| "another".into()),
            enabled: self.one_in(2).then(|| !self.one_in(3)),
            rotate: self.one_in(4).then(|| ([u8::try_from(self.below(99)).unwrap(); 16], Duration::from_secs(20))),
            delete: self.one_in(20),
        }
    }

    fn room(&self) -> Room {
        let per_endpoint = 1 + self.below(3);
        let all = self.endpoints.iter().map(|(_, endpoint)| *endpoint).chain(self.origins.iter().copied());
        let busy = all.filter(|_| self.one_in(4)).map(|endpoint| (endpoint, self.below(per_endpoint + 1)));
        let lease = Duration::from_secs(u64::try_from(1 + self.below(9)).unwrap());
        Room { limit: self.below(7), per_endpoint, busy: busy.collect(), lease }
    }

    fn answer(&self) -> Answer {
        match self.below(24) {
            0 => Answer::Gone,
            1..3 => Answer::Lost,
            3 => Answer::Failed { retry_after: Some(Duration::from_secs(7)) },
            4..10 => Answer::Failed { retry_after: None },
            _ => Answer::Taken,
        }
    }

    fn tried(&self, due: &Due, at: longtake_core::time::Timestamp) -> Tried {
        let status = self.pick(&[None, Some(200), Some(500)]).flatten();
        let log = Try { at, status, duration_ms: 3, words: "ok".into() };
        Tried { delivery: due.delivery.id, answer: self.answer(), log, jitter: u8::try_from(self.below(256)).unwrap() }
    }
}

impl World {
    pub(super) async fn webhooks(&mut self) {
        match self.hooks.below(12) {
            0 => self.endpoint().await,
            1 => self.change_endpoint().await,
            2..5 => self.take().await,
            5..7 => self.finish().await,
            7..9 => self.log().await,
            9 => self.log_of_job().await,
            10 => self.tell_again().await,
            _ => drop(same!(self.next_delivery_at())),
        }
    }

    async fn endpoint(&mut self) {
        let project = self.projects[self.hooks.below(self.projects.len())];
        if self.hooks.one_in(2) {
            let origin = format!("https://{}.example.com:443", self.hooks.below(3));
            let origin = same!(self.origin_endpoint(project, &origin));
            self.hooks.origins.push(origin);
        } else if self.hooks.endpoints.len() < MAX_ENDPOINTS {
            let types = self.hooks.types();
            let new = NewEndpoint { project, url: "https://h".into(), types, description: "one".into(), salt: [3; 16] };
            let made = same!(self.create_endpoint(new.clone()));
            self.hooks.endpoints.extend(made.map(|endpoint| (project, endpoint.id)));
        }
        same!(self.endpoints(project));
    }

    async fn change_endpoint(&mut self) {
        let Some((project, endpoint)) = self.hooks.pick(&self.hooks.endpoints) else { return };
        let change = self.hooks.change();
        same!(self.change_endpoint(project, endpoint, change.clone()));
        same!(self.endpoint(project, endpoint));
    }

    async fn take(&mut self) {
        let room = self.hooks.room();
        let due = same!(self.take_deliveries(&room));
        self.count("taken", due.len());
        self.count("lost events", due.iter().filter(|due| due.event.is_none()).count());
        self.hooks.due.extend(due);
        let surplus = self.hooks.due.len().saturating_sub(MAX_DUE);
        self.hooks.due.drain(..surplus);
    }

    async fn finish(&mut self) {
        let mut tried = Vec::new();
        for _ in 0..1 + self.hooks.below(4) {
            tried.extend(self.hooks.pick(&self.hooks.due).map(|due| self.hooks.tried(&due, self.given.now())));
        }
        self.count("tried", tried.len());
        same!(self.finish_deliveries(tried.clone()));
    }

    async fn log(&mut self) {
        let Some((project, endpoint)) = self.hooks.pick(&self.hooks.endpoints) else { return };
        let after = self.hooks.pick(&self.hooks.deliveries).map(|(.., delivery)| delivery);
        let (after, limit) = (after.filter(|_| self.hooks.one_in(3)), self.hooks.below(9));
        let Some(page) = same!(self.deliveries(project, endpoint, after, limit)) else { return };
        for (delivery, _) in page.deliveries {
            self.count(
                match delivery.state {
                    longtake_core::webhook::DeliveryState::Pending => "pending",
                    longtake_core::webhook::DeliveryState::Delivered => "delivered",
                    longtake_core::webhook::DeliveryState::Exhausted => "exhausted",
                    longtake_core::webhook::DeliveryState::Disabled => "disabled",
                },
                1,
            );
            self.hooks.deliveries.push((project, endpoint, delivery.id));
        }
    }

    /// Mostly of a job that has one, at times of another than the delivery's.
    async fn log_of_job(&mut self) {
        let Some((project, job)) = self.hooks.pick(&self.jobs) else { return };
        let after = self.hooks.pick(&self.hooks.deliveries).map(|(.., delivery)| delivery);
        let (after, limit) = (after.filter(|_| self.hooks.one_in(3)), self.hooks.below(9));
        let Some(seen) = same!(self.job_deliveries(project, job, after, limit)) else { return };
        self.count("of jobs", seen.page.deliveries.len());
        let Some((delivery, _)) = self.hooks.pick(&seen.page.deliveries) else { return };
        if self.hooks.one_in(3) {
            let job = self.hooks.pick(&self.jobs).filter(|_| self.hooks.one_in(4)).map_or(job, |(_, other)| other);
            let again = same!(self.redeliver_of_job(project, job, delivery.id));
            self.count("redelivered of jobs", usize::from(again.is_some()));
        }
    }

    async fn tell_again(&mut self) {
        if self.hooks.one_in(2) {
            let Some((project, endpoint, delivery)) = self.hooks.pick(&self.hooks.deliveries) else { return };
            same!(self.redeliver(project, endpoint, delivery));
            return;
        }
        let Some((project, endpoint)) = self.hooks.pick(&self.hooks.endpoints) else { return };
        let Some((_, job)) = self.hooks.pick(&self.jobs) else { return };
        let (ver, limit) = (u32::try_from(1 + self.hooks.below(3)).unwrap(), self.hooks.below(5));
        let replayed = same!(self.replay(project, endpoint, (job, ver), limit));
        self.count("replayed", replayed.map_or(0, |replayed| replayed.deliveries));
    }
}
