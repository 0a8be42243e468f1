//! L1: the pure functions under random input, valid or not, in any order.

use std::collections::BTreeMap;
use std::time::Duration;

use longtake_core::apply::{Input, LateInput, apply, apply_late};
use longtake_core::artifact::{Artifact, ArtifactKey, Digest, MediaInfo};
use longtake_core::attempt::{Attempt, AttemptState, Decision, Evidence, Merge, Rejection, Retry, Verdict, merge};
use longtake_core::event::EventKind;
use longtake_core::failure::{Failure, FailureCode};
use longtake_core::id::{AccountId, AttemptNo, ClientRef, ExecutorId, Fence, JobId, Nonce, ProjectId, ProviderJobId};
use longtake_core::memory_store::evidence_rank;
use longtake_core::pacing::Budget;
use longtake_core::record::{CancelOutcome, Record};
use longtake_core::request::{Size, VideoRequest};
use longtake_core::state::{JobState, StateName};
use longtake_core::step::{next_step, watch_step};
use longtake_core::time::Timestamp;
use proptest::collection::vec;
use proptest::prelude::*;

/// One thing that may happen; the numbers choose what exactly.
#[derive(Debug, Clone)]
enum Event {
    Job(u8, u8),
    Evidence { n: u8, which: u8, name: u8, claimed: bool },
    Late { n: u8, which: u8 },
    Cancel,
    Decide(u8),
    Pass(u32),
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..16u8, any::<u8>()).prop_map(|(which, arg)| Event::Job(which, arg)),
        4 => (0..4u8, 0..6u8, 0..3u8, any::<bool>())
            .prop_map(|(n, which, name, claimed)| Event::Evidence { n, which, name, claimed }),
        1 => (0..4u8, 0..5u8).prop_map(|(n, which)| Event::Late { n, which }),
        1 => Just(Event::Cancel),
        1 => any::<u8>().prop_map(Event::Decide),
        1 => (0..40_000u32).prop_map(Event::Pass),
    ]
}

/// A job and its attempts, as a store would keep them.
struct World {
    record: Record,
    attempts: BTreeMap<AttemptNo, Attempt>,
    ranks: BTreeMap<AttemptNo, u8>,
    log: Vec<(EventKind, StateName)>,
    now: Timestamp,
}

impl World {
    fn new() -> Self {
        let request = VideoRequest {
            prompt: "a river".into(),
            model: "model".into(),
            seconds: 1,
            size: Size { width: 16, height: 16 },
            input: None,
            metadata: BTreeMap::new(),
            priority: 0,
            provider_options: None,
            source: None,
            max_cost_usd_micros: None,
            webhook: None,
        };
        let (job, now) = (JobId::from_bytes([7; 16]), Timestamp::from_micros(1_000_000));
        let record = Record::new(job, ProjectId(1), &request, Some(Duration::from_secs(60)), now);
        let log = vec![(EventKind::Queued, StateName::Queued)];
        Self { record, attempts: BTreeMap::new(), ranks: BTreeMap::new(), log, now }
    }

    fn save(&mut self, attempt: Attempt) {
        let rank = evidence_rank(attempt.state);
        let highest = self.ranks.entry(attempt.n).or_default();
        assert!(rank >= *highest, "I11: {} fell to {:?}", attempt.n, attempt.state);
        *highest = rank;
        self.attempts.insert(attempt.n, attempt);
        self.record.attempt = self.attempts.values().next_back().cloned();
    }

    fn take(&mut self, event: &Event) {
        let before = self.record.ver;
        let logged = self.log.len();
        match event {
            Event::Job(which, arg) => self.job(*which, *arg),
            Event::Evidence { n, which, name, claimed } => self.evidence(*n, *which, *name, *claimed),
            Event::Late { n, which } => self.late(*n, *which),
            Event::Cancel => {
                if let Some(record) = self.record.with_cancel(self.now) {
                    self.record = record;
                }
            }
            Event::Decide(arg) => {
                let held = matches!(self.record.state, JobState::Held { .. });
                if let Some(mut attempt) =
                    self.record.attempt.clone().filter(|attempt| held && attempt.state.is_unresolved())
                {
                    attempt.decision = Some(decision(*arg));
                    self.save(attempt);
                }
            }
            Event::Pass(millis) => self.now = self.now + Duration::from_millis(u64::from(*millis)),
        }
        let grown = usize::try_from(self.record.ver - before).unwrap();
        assert_eq!(grown, self.log.len() - logged, "the number grows by one with each event");
        self.check();
    }

    fn job(&mut self, which: u8, arg: u8) {
        let before = self.record.clone();
        let Ok(transition) = apply(&self.record, self.input(which, arg), self.now) else { return };
        assert_eq!(apply(&before, self.input(which, arg), self.now).as_ref(), Ok(&transition), "apply is pure");
        self.log.extend(transition.events.iter().map(|kind| (*kind, transition.record.state.name())));
        let attempt = transition.record.attempt.clone();
        if !transition.attempt_changed {
            assert_eq!(attempt, before.attempt, "an attempt changed and would not be saved");
        }
        self.record = transition.record;
        if let Some(attempt) = attempt {
            self.save(attempt);
        }
        if transition.watch {
            let late = self.record.attempt.as_ref().map(|attempt| attempt.state);
            let open = late.is_some_and(|late| {
                late.is_open() || matches!(late, AttemptState::Waived | AttemptState::LateAccepted)
            });
            assert!(open, "what is watched may still yield: {late:?}");
        }
    }

    fn input(&self, which: u8, arg: u8) -> Input {
        let budget = Budget { max_attempts: 3, routes: 2, unavailable_limit: Duration::from_secs(30) };
        let retry = [Retry::Never, Retry::NextRoute, Retry::Counted, Retry::Free][usize::from(arg % 4)];
        let failure = Failure::new(FailureCode::ProviderError, "no");
        match which {
            0 | 14 => Input::Intent(self.intent(arg)),
            1 => Input::Fold(budget),
            2 => Input::TakenOver,
            3 => Input::Absent(budget),
            4 => Input::VerifyExpired,
            5 => Input::Decide(decision(arg)),
            6 => Input::Progress(arg),
            7 => Input::ProviderDone,
            8 => Input::ProviderFailed(failure, retry, budget),
            9 => Input::Stored(if arg == 0 { Vec::new() } else { vec![output(self.record.job)] }),
            10 => Input::SourceGone(failure),
            11 => Input::Canceled(CancelOutcome::ALL[usize::from(arg % 5)]),
            12 => Input::DeadlinePassed { stopped: arg.is_multiple_of(2) },
            15 => Input::OverLimit,
            _ => Input::Retry("client".into()),
        }
    }

    fn intent(&self, arg: u8) -> Attempt {
        let state = if arg == 0 { AttemptState::Accepted } else { AttemptState::Intent };
        let wrong = u16::from(arg == 1);
        Attempt {
            n: AttemptNo(self.record.next_attempt().0 + wrong),
            state,
            executor: ExecutorId(1),
            nonce: Nonce(1),
            account: AccountId(1),
            model: "model".into(),
            client_ref: ClientRef::from_hash(&[1; 16]),
            provider_job: None,
            intent_at: self.now,
            send_deadline_at: self.now,
            resolved_at: None,
            request_ended_at: None,
            rejection: None,
            decision: None,
        }
    }

    fn evidence(&mut self, n: u8, which: u8, name: u8, claimed: bool) {
        let Some(attempt) = self.attempts.get(&AttemptNo(u16::from(n) + 1)).cloned() else { return };
        let retry = [Retry::Never, Retry::NextRoute, Retry::Counted, Retry::Free][usize::from(which % 4)];
        let failure = Failure::new(FailureCode::ProviderError, "no");
        let evidence = match which {
            0 | 1 => Evidence::Accepted(ProviderJobId::new(&format!("p-{n}-{name}")).unwrap()),
            2 => Evidence::Unknown,
            _ => Evidence::NotAccepted(Rejection { failure, retry, retry_after: None }),
        };
        match merge(&self.record, &attempt, &evidence, claimed, self.now) {
            Merge::Unchanged => {}
            Merge::Orphan(other) => assert_ne!(attempt.provider_job, Some(other)),
            Merge::Changed { attempt, watch } => {
                assert_eq!(watch, attempt.state == AttemptState::LateAccepted, "late is watched, and nothing else is");
                self.save(attempt.clone());
                let again = merge(&self.record, &attempt, &evidence, claimed, self.now);
                assert_eq!(again, Merge::Unchanged, "evidence may be repeated");
            }
        }
    }

    fn late(&mut self, n: u8, which: u8) {
        let Some(attempt) = self.attempts.get(&AttemptNo(u16::from(n) + 1)).cloned() else { return };
        let awaited = !self.record.state.is_terminal() && attempt.state.is_open();
        let input = match which {
            0 => LateInput::Stored(vec![output(self.record.job)]),
            1 => LateInput::Ended,
            2 => LateInput::Absent,
            3 => LateInput::SourceGone(Failure::new(FailureCode::ArtifactUnavailable, "its bytes are gone")),
            _ => LateInput::LimitPassed,
        };
        if awaited && attempt.state != AttemptState::Accepted {
            return; // it has no watch row
        }
        let Ok(late) = apply_late(&self.record, &attempt, input, self.now) else { return };
        assert_eq!(late.record.state, self.record.state, "a late attempt changes no state");
        assert!(!awaited || late.attempt.state == attempt.state, "an awaited attempt is left alone");
        self.log.extend(late.event.map(|kind| (kind, self.record.state.name())));
        self.record = late.record;
        self.save(late.attempt);
    }

    fn check(&self) {
        let open = self.attempts.values().filter(|attempt| attempt.state.is_open());
        let open: Vec<AttemptNo> = open.map(|attempt| attempt.n).collect();
        assert!(open.len() <= 1, "I2: open attempts {open:?}");
        let latest = self.record.attempt.as_ref();
        if let Some(n) = self.record.state.attempt() {
            assert_eq!(latest.map(|latest| latest.n), Some(n), "the state waits for its latest attempt");
        }
        let accepted = latest.is_some_and(|latest| latest.state == AttemptState::Accepted);
        assert!(!(accepted && self.record.state.is_terminal()), "a finished job with an accepted attempt: it is late");
        self.replay();
        assert_eq!(next_step(&self.record, self.now).is_none(), self.record.state.is_terminal());
        for attempt in self.attempts.values() {
            let _ = watch_step(attempt);
        }
    }

    /// I6.
    fn replay(&self) {
        assert_eq!(usize::try_from(self.record.ver).unwrap(), self.log.len(), "dense");
        let (mut finished, mut state) = (false, StateName::Queued);
        for (kind, after) in &self.log {
            if *kind == EventKind::LateResult {
                continue;
            }
            assert!(!finished || *kind == EventKind::Queued, "{kind:?} after the end");
            finished = kind.is_terminal();
            state = *after;
        }
        assert_eq!(state, self.record.state.name(), "events replayed give the state");
        assert_eq!(finished, self.record.state.is_terminal(), "one last event per life");
    }
}

fn decision(arg: u8) -> Decision {
    let verdict = if arg.is_multiple_of(2) { Verdict::Resubmit } else { Verdict::Fail };
    Decision { verdict, by: "person".into() }
}

fn output(job: JobId) -> Artifact {
    Artifact {
        attempt: AttemptNo(1),
        n: 0,
        key: ArtifactKey::output(ProjectId(1), job, AttemptNo(1), 0, Fence(1)),
        bytes: 1,
        sha256: Digest([1; 32]),
        media_type: "video/mp4".into(),
        media: MediaInfo { width: 16, height: 16, duration_ms: 1_000, frames: 24, codec: "avc1".into() },
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_order_of_inputs_breaks_a_job(events in vec(event(), 1..60)) {
        let mut world = World::new();
        for event in &events {
            world.take(event);
        }
    }
}
