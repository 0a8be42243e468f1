//! How long what is over is kept. Nothing unfinished, held or watched is ever removed, whatever a policy says.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::artifact::ArtifactKey;
use crate::id::ProjectId;
use crate::time::Timestamp;

/// How long a project keeps what. `None` is for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keep {
    /// Finished jobs with all that belongs to them, counted from when they finished. At least [`Keep::MIN_JOBS`].
    pub jobs: Option<Duration>,
    /// Events of finished jobs, counted from when each happened. The end of `jobs` ends them too.
    pub events: Option<Duration>,
    /// The stored bytes of finished jobs, counted from when they finished. The end of `jobs` ends them too.
    pub artifacts: Option<Duration>,
}

impl Keep {
    /// Idempotency keys live as long as their jobs, and clients rely on them for a day.
    pub const MIN_JOBS: Duration = Duration::from_hours(24);
    /// Shorter would race with the clients that were just told.
    pub const MIN_PART: Duration = Duration::from_hours(1);

    /// A doubt is compared with what a provider began up to so long before it: lists have clocks of their own.
    pub const PIN_MARGIN: Duration = Duration::from_hours(2);

    /// How long bytes can be fetched.
    pub fn content(&self) -> Option<Duration> {
        shorter(self.artifacts, self.jobs)
    }

    /// How long an event can be read.
    pub fn history(&self) -> Option<Duration> {
        shorter(self.events, self.jobs)
    }

    /// How long one kind is kept by a rule of its own.
    pub const fn of(&self, kind: Kind) -> Option<Duration> {
        match kind {
            Kind::Artifacts => self.artifacts,
            Kind::Events => self.events,
            Kind::Jobs => self.jobs,
        }
    }
}

fn shorter(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// What is removed in a walk of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Outputs.
    Artifacts,
    /// Events.
    Events,
    /// Whole jobs.
    Jobs,
}

impl Kind {
    /// In the order in which they are walked.
    pub const ALL: [Self; 3] = [Self::Artifacts, Self::Events, Self::Jobs];

    /// Its number in the database.
    pub const fn number(self) -> i16 {
        match self {
            Self::Artifacts => 1,
            Self::Events => 2,
            Self::Jobs => 3,
        }
    }
}

/// The policies of all projects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Retention {
    /// For projects without one of their own.
    pub default: Keep,
    /// The others.
    pub projects: BTreeMap<ProjectId, Keep>,
}

impl Retention {
    /// A walk over the jobs of a project begins anew after this, to find what was unfinished or watched when it passed.
    pub const ROUND: Duration = Duration::from_hours(24);

    /// What holds for a project.
    pub fn of(&self, project: ProjectId) -> &Keep {
        self.projects.get(&project).unwrap_or(&self.default)
    }

    /// Nothing ever goes.
    pub fn is_forever(&self) -> bool {
        self.all().all(|keep| *keep == Keep::default())
    }

    /// How long the most patient project keeps events by its own rule; `None` if one keeps them as long as its jobs.
    /// Older days of events go as a whole.
    pub fn longest_events(&self) -> Option<Duration> {
        self.all().map(|keep| keep.events).try_fold(Duration::ZERO, |longest, events| Some(longest.max(events?)))
    }

    /// When the bytes of a job that finished then are no longer served.
    pub fn content_until(&self, project: ProjectId, finished_at: Timestamp) -> Option<Timestamp> {
        Some(finished_at + self.of(project).content()?)
    }

    fn all(&self) -> impl Iterator<Item = &Keep> {
        std::iter::once(&self.default).chain(self.projects.values())
    }
}

/// What one bounded call removed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Expired {
    /// Jobs, with all that belongs to them.
    pub jobs: u64,
    /// Events, those of removed jobs among them; days that went as a whole are not counted.
    pub events: u64,
    /// Objects that no row refers to any more, outputs and input images, as far as this call removed their rows; each
    /// once. For removal; the sweep finds what a crash in between leaves.
    pub artifacts: Vec<ArtifactKey>,
    /// Webhook endpoints that their clients removed, and of which no delivery was left.
    pub endpoints: u64,
    /// There is more to look at now.
    pub more: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn days(days: u64) -> Option<Duration> {
        Some(Duration::from_hours(24 * days))
    }

    const fn keep(jobs: Option<Duration>, events: Option<Duration>, artifacts: Option<Duration>) -> Keep {
        Keep { jobs, events, artifacts }
    }

    #[test]
    fn the_end_of_a_job_ends_its_parts() {
        assert_eq!(keep(days(9), days(7), days(3)).content(), days(3));
        assert_eq!(keep(days(9), days(7), days(3)).history(), days(7));
        let longer = keep(days(2), days(7), days(3));
        assert_eq!((longer.content(), longer.history()), (days(2), days(2)));
        let whole = keep(days(2), None, None);
        assert_eq!((whole.content(), whole.history()), (days(2), days(2)));
        let parts = keep(None, days(7), days(3));
        assert_eq!((parts.content(), parts.history()), (days(3), days(7)));
        assert_eq!((Keep::default().content(), Keep::default().history()), (None, None));
    }

    #[test]
    fn each_kind_has_its_own_rule() {
        let rules = keep(days(9), days(7), days(3));
        assert_eq!(Kind::ALL.map(|kind| rules.of(kind)), [days(3), days(7), days(9)]);
        assert_eq!(Kind::ALL.map(Kind::number), [1, 2, 3]);
    }

    #[test]
    fn a_policy_of_its_own_replaces_the_default_whole() {
        let own = keep(days(30), None, None);
        let all =
            Retention { default: keep(days(9), days(7), days(3)), projects: BTreeMap::from([(ProjectId(2), own)]) };
        assert_eq!((all.of(ProjectId(1)), all.of(ProjectId(2))), (&all.default, &own));
        let finished_at = Timestamp::from_micros(1_000_000);
        let until = |days: u64| finished_at + Duration::from_hours(24 * days);
        assert_eq!(all.content_until(ProjectId(1), finished_at), Some(until(3)));
        assert_eq!(all.content_until(ProjectId(2), finished_at), Some(until(30)));
        assert_eq!(Retention::default().content_until(ProjectId(1), finished_at), None);
    }

    #[test]
    fn only_without_any_rule_everything_is_kept() {
        assert!(Retention::default().is_forever());
        let one = Retention { projects: BTreeMap::from([(ProjectId(2), Keep::default())]), ..Retention::default() };
        assert!(one.is_forever());
        let some =
            Retention { projects: BTreeMap::from([(ProjectId(2), keep(None, days(7), None))]), ..Retention::default() };
        assert!(!some.is_forever());
    }

    #[test]
    fn the_most_patient_project_says_how_long_days_of_events_stay() {
        let with = |default: Keep, own: Keep| Retention { default, projects: BTreeMap::from([(ProjectId(2), own)]) };
        let (week, month) = (keep(None, days(7), None), keep(None, days(30), None));
        assert_eq!(with(week, month).longest_events(), days(30));
        assert_eq!(with(month, week).longest_events(), days(30));
        assert_eq!(with(week, Keep::default()).longest_events(), None);
        assert_eq!(with(keep(days(2), None, None), week).longest_events(), None, "they go with their jobs, one by one");
        assert_eq!(Retention { default: week, ..Retention::default() }.longest_events(), days(7));
    }
}
