//! The submit protocol as a small model: two incarnations, one job, a provider that bills when it accepts.
//!
//! Every step of an incarnation is one action, so a paused process, a crash at each point and a late send are just orders
//! of actions. With all rules on nothing is paid twice or forgotten; with any of them off a shortest trace shows the damage.

use super::search::{Counterexample, Model, Next, explore};

/// Rules as switches: `true` is on. Numbers: docs/durability.md.
#[derive(Debug, Clone, Copy)]
struct Rules {
    r1_intent_first: bool,
    r2_own_commit_only: bool,
    r4_takeover_never_sends: bool,
    r5_evidence_is_unfenced: bool,
    r7a_settled: bool,
    r7b_listing_covers: bool,
    r7c_sender_is_done: bool,
    /// R7c: that a request ended is its sender's own word. An unknown outcome by a successor does not say so.
    r7c_own_word: bool,
    /// R7c: where keys are recognised, the word of one sender says nothing about the others (R8).
    r7c_word_of_all: bool,
    r8_same_key: bool,
    /// R8, second half: a refused send does not close an attempt while another send of it may be under way.
    r8_refusal_does_not_close: bool,
}

const ALL_ON: Rules = Rules {
    r1_intent_first: true,
    r2_own_commit_only: true,
    r4_takeover_never_sends: true,
    r5_evidence_is_unfenced: true,
    r7a_settled: true,
    r7b_listing_covers: true,
    r7c_sender_is_done: true,
    r7c_own_word: true,
    r7c_word_of_all: true,
    r8_same_key: true,
    r8_refusal_does_not_close: true,
};

/// What a provider offers to find a lost submission.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Nothing,
    Lookup,
    Callback,
    Idempotent,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Row {
    Absent,
    Intent,
    Unknown,
    Accepted,
    NotAccepted,
    Waived,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Answer {
    Accepted,
    /// By the provider itself. `proves`: when this was sent no other send of the attempt could arrive any more, so the
    /// provider has nothing under this key.
    Refused {
        proves: bool,
    },
    /// It never left.
    NotSent,
    Nothing,
}

/// What an incarnation is in the middle of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Phase {
    Idle,
    /// The database did not say whether the intent was committed.
    Doubt(usize),
    /// It believes that it may send.
    MaySend(usize),
    /// Sent; `true` if no other send of the attempt could arrive any more.
    Waiting(usize, bool),
    Answered(usize, Answer),
    Dead,
}

const ATTEMPTS: usize = 2;
const EXECUTORS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    rows: [Row; ATTEMPTS],
    owner: Option<usize>,
    phases: [Phase; EXECUTORS],
    /// Who was ever permitted to send an attempt, by bits.
    senders: [u8; ATTEMPTS],
    /// Who once said, durably, that its request for an attempt ended, by bits. A repeated send (R8) takes nothing back.
    ended: [u8; ATTEMPTS],
    /// Requests on their way to the provider.
    wire: [[bool; EXECUTORS]; ATTEMPTS],
    bills: [u8; ATTEMPTS],
    listed: [bool; ATTEMPTS],
    held: bool,
    /// The first attempt was waived: the second may be a second payment.
    risk_accepted: bool,
    /// What an incarnation knew of a payment was thrown away.
    forgotten: bool,
    reaps: u8,
    crashes: u8,
}

struct Protocol {
    rules: Rules,
    class: Class,
}

impl State {
    /// The newest attempt with a row.
    fn current(&self) -> Option<usize> {
        (0..ATTEMPTS).rev().find(|n| self.rows[*n] != Row::Absent)
    }

    /// The attempt the job may make now.
    fn permitted(&self) -> Option<usize> {
        let next = self.current().map_or(0, |n| n + 1);
        let closed = self.current().is_none_or(|n| matches!(self.rows[n], Row::NotAccepted | Row::Waived));
        (closed && next < ATTEMPTS).then_some(next)
    }

    fn finished(&self) -> bool {
        self.current().is_some_and(|n| match self.rows[n] {
            Row::Accepted => true,
            Row::NotAccepted | Row::Waived => self.permitted().is_none(),
            _ => false,
        })
    }

    fn free(&self, executor: usize) -> bool {
        self.owner == Some(executor) && self.phases[executor] == Phase::Idle
    }
}

type Ways = Vec<Next<State>>;

fn way(ways: &mut Ways, fair: bool, label: String, state: State) {
    ways.push(Next { label, fair, state });
}

impl Protocol {
    /// R7: whether "not found" proves anything, told by the truth that the waits stand for.
    fn absence_proves(&self, state: &State, n: usize, by: usize) -> bool {
        let others = (0..EXECUTORS).filter(|e| state.senders[n] & 1 << e != 0 && *e != by);
        // With keys there may be senders that no row names, so the word of one does not count.
        let word = match self.class {
            Class::Idempotent if state.ended[n] != 0 && !self.rules.r7c_word_of_all => u8::MAX,
            _ => state.ended[n],
        };
        let done = others.clone().all(|e| state.phases[e] == Phase::Dead || word & 1 << e != 0);
        let settled = !state.wire[n].contains(&true);
        let covered = state.bills[n] == 0 || state.listed[n];
        (settled || !self.rules.r7a_settled)
            && (covered || !self.rules.r7b_listing_covers)
            && (done || !self.rules.r7c_sender_is_done)
    }

    /// Takes evidence up as `merge` does.
    fn merge(&self, state: &mut State, n: usize, answer: Answer, by: usize) {
        let row = state.rows[n];
        state.rows[n] = match (answer, row) {
            (Answer::Accepted, Row::Absent) if self.rules.r1_intent_first => {
                state.forgotten = true; // there is no row that could know it
                return;
            }
            (Answer::Accepted, _) => {
                state.held &= state.current() != Some(n);
                Row::Accepted
            }
            (Answer::Refused { .. } | Answer::NotSent, Row::Intent) => Row::NotAccepted,
            (Answer::Refused { .. } | Answer::NotSent, Row::Unknown) => {
                // Of several sends under one key, one that did not leave proves nothing about the others, and a refusal
                // closes only as a decision of the owner: another owner may have begun the next send meanwhile.
                let proves = answer == Answer::Refused { proves: true } && state.owner == Some(by);
                let closes = self.class != Class::Idempotent || proves || !self.rules.r8_refusal_does_not_close;
                if closes { Row::NotAccepted } else { Row::Unknown }
            }
            (Answer::Nothing, Row::Intent) => Row::Unknown,
            (Answer::Refused { .. } | Answer::NotSent, Row::Absent) => Row::NotAccepted,
            (Answer::Nothing, Row::Absent) if !self.rules.r1_intent_first => Row::Unknown,
            (_, row) => row,
        };
        state.held &= state.rows[n] != Row::NotAccepted;
    }

    fn ownership(&self, state: &State, ways: &mut Ways) {
        for e in 0..EXECUTORS {
            if state.owner.is_none() && state.phases[e] == Phase::Idle && !state.finished() && !state.held {
                way(ways, true, format!("{e} acquires"), State { owner: Some(e), ..*state });
            }
            let dead = state.phases[e] == Phase::Dead;
            if state.owner == Some(e) && (dead || state.reaps > 0) {
                let reaps = if dead { state.reaps } else { state.reaps - 1 };
                way(ways, dead, format!("{e} is reaped"), State { owner: None, reaps, ..*state });
            }
            if !dead && state.crashes > 0 {
                let mut next = State { crashes: state.crashes - 1, ..*state };
                next.phases[e] = Phase::Dead;
                way(ways, false, format!("{e} crashes"), next);
            }
        }
    }

    fn submitting(&self, state: &State, e: usize, ways: &mut Ways) {
        let permit = |n: usize, written: bool, phase: Phase| {
            let mut next = *state;
            if written {
                next.rows[n] = Row::Intent;
            }
            next.senders[n] |= 1 << e;
            next.phases[e] = phase;
            next
        };
        if let (true, Some(n)) = (state.free(e), state.permitted()) {
            if self.rules.r1_intent_first {
                way(ways, true, format!("{e} commits intent {n}"), permit(n, true, Phase::MaySend(n)));
                for written in [true, false] {
                    let label = format!("{e} commits intent {n}, outcome unknown (written: {written})");
                    way(ways, false, label, permit(n, written, Phase::Doubt(n)));
                }
            } else {
                way(ways, true, format!("{e} means to send {n} first"), permit(n, false, Phase::MaySend(n)));
            }
        }
        match state.phases[e] {
            Phase::Doubt(n) => {
                let mine = state.rows[n] == Row::Intent && state.owner == Some(e);
                let mut next = *state;
                let may_send = mine || !self.rules.r2_own_commit_only;
                next.phases[e] = if may_send { Phase::MaySend(n) } else { Phase::Idle };
                way(ways, true, format!("{e} reads intent {n} again"), next);
            }
            Phase::MaySend(n) => {
                let mut next = *state;
                next.phases[e] = Phase::Waiting(n, self.absence_proves(state, n, e));
                next.wire[n][e] = true;
                way(ways, true, format!("{e} sends {n}"), next);
                next.wire[n][e] = false;
                next.phases[e] = Phase::Answered(n, Answer::NotSent);
                way(ways, true, format!("{e} could not send {n}"), next);
            }
            Phase::Waiting(n, _) => {
                let mut next = *state;
                next.phases[e] = Phase::Answered(n, Answer::Nothing);
                way(ways, true, format!("{e} waits no longer for {n}"), next);
            }
            Phase::Answered(n, answer) => {
                let mut next = *state;
                next.phases[e] = Phase::Idle;
                if self.rules.r5_evidence_is_unfenced || state.owner == Some(e) {
                    self.merge(&mut next, n, answer, e);
                    // Where it does not count it makes no difference, only more states.
                    let counts = self.class != Class::Idempotent || !self.rules.r7c_word_of_all;
                    next.ended[n] |= u8::from(counts) << e;
                } else {
                    next.forgotten |= answer == Answer::Accepted;
                }
                way(ways, true, format!("{e} testifies {answer:?} of {n}"), next);
            }
            Phase::Idle | Phase::Dead => {}
        }
    }

    fn verifying(&self, state: &State, e: usize, ways: &mut Ways) {
        let Some(n) = state.current().filter(|_| state.free(e)) else { return };
        match state.rows[n] {
            Row::Intent => {
                let mut next = *state;
                if self.rules.r4_takeover_never_sends {
                    next.rows[n] = Row::Unknown;
                    next.ended[n] |= if self.rules.r7c_own_word { 0 } else { state.senders[n] };
                    way(ways, true, format!("{e} takes over {n}"), next);
                } else {
                    next.senders[n] |= 1 << e;
                    next.phases[e] = Phase::MaySend(n);
                    way(ways, true, format!("{e} takes over {n} to send it"), next);
                }
            }
            Row::Unknown => {
                if self.class == Class::Lookup {
                    let mut next = *state;
                    if state.bills[n] > 0 && state.listed[n] {
                        next.rows[n] = Row::Accepted;
                        way(ways, true, format!("{e} finds {n}"), next);
                    } else if self.absence_proves(state, n, e) {
                        next.rows[n] = Row::NotAccepted;
                        way(ways, true, format!("{e} takes {n} for absent"), next);
                    }
                }
                if self.class == Class::Idempotent {
                    let mut next = *state;
                    next.senders[n] |= 1 << e;
                    next.phases[e] = Phase::MaySend(n);
                    way(ways, true, format!("{e} will send {n} again"), next);
                }
                way(ways, true, format!("{e} holds"), State { held: true, owner: None, ..*state });
            }
            _ => {}
        }
    }

    fn provider(&self, state: &State, ways: &mut Ways) {
        for n in 0..ATTEMPTS {
            for e in 0..EXECUTORS {
                if !state.wire[n][e] {
                    continue;
                }
                let arrived = |answer: Answer| {
                    let mut next = *state;
                    next.wire[n][e] = false;
                    if let Phase::Waiting(of, _) = next.phases[e]
                        && of == n
                    {
                        next.phases[e] = Phase::Answered(n, answer);
                    }
                    next
                };
                let known = self.class == Class::Idempotent && self.rules.r8_same_key && state.bills[n] > 0;
                for answer in [Answer::Accepted, Answer::Nothing] {
                    let mut next = arrived(answer);
                    next.bills[n] += u8::from(!known);
                    way(ways, true, format!("the provider accepts {n} of {e}, which hears {answer:?}"), next);
                }
                if !known {
                    let alone = state.phases[e] == Phase::Waiting(n, true);
                    way(
                        ways,
                        true,
                        format!("the provider refuses {n} of {e}"),
                        arrived(Answer::Refused { proves: alone }),
                    );
                }
                way(ways, true, format!("{n} of {e} is lost"), arrived(Answer::Nothing));
            }
            if state.bills[n] > 0 && !state.listed[n] {
                let mut next = *state;
                next.listed[n] = true;
                way(ways, true, format!("{n} is listed"), next);
            }
            if self.class == Class::Callback && state.bills[n] > 0 && state.rows[n] != Row::Accepted {
                let mut next = *state;
                self.merge(&mut next, n, Answer::Accepted, EXECUTORS);
                way(ways, false, format!("the provider calls back about {n}"), next);
            }
        }
    }
}

impl Model for Protocol {
    type State = State;
    type Key = State;

    fn start(&self) -> State {
        State {
            rows: [Row::Absent; ATTEMPTS],
            owner: None,
            phases: [Phase::Idle; EXECUTORS],
            senders: [0; ATTEMPTS],
            ended: [0; ATTEMPTS],
            wire: [[false; EXECUTORS]; ATTEMPTS],
            bills: [0; ATTEMPTS],
            listed: [false; ATTEMPTS],
            held: false,
            risk_accepted: false,
            forgotten: false,
            reaps: 2,
            crashes: 1,
        }
    }

    fn key(&self, state: &State) -> State {
        *state
    }

    fn next(&self, state: &State) -> Ways {
        let mut ways = Vec::new();
        self.ownership(state, &mut ways);
        for e in 0..EXECUTORS {
            self.submitting(state, e, &mut ways);
            self.verifying(state, e, &mut ways);
        }
        self.provider(state, &mut ways);
        if let (true, Some(n)) = (state.held, state.current()) {
            let mut next = State { held: false, risk_accepted: true, ..*state };
            next.rows[n] = Row::Waived;
            way(&mut ways, false, format!("a person waives {n}"), next);
        }
        ways
    }

    fn check(&self, state: &State) -> Result<(), String> {
        if state.bills.iter().any(|bills| *bills > 1) {
            return Err("one attempt was paid twice".to_owned());
        }
        if state.bills[0] > 0 && state.bills[1] > 0 && !state.risk_accepted {
            return Err("two attempts were paid and nobody had accepted the risk".to_owned());
        }
        if state.forgotten { Err("a payment that was known is forgotten".to_owned()) } else { Ok(()) }
    }

    fn is_rest(&self, state: &State) -> bool {
        let quiet = state.phases.iter().all(|phase| matches!(phase, Phase::Idle | Phase::Dead));
        quiet && (state.finished() || state.held)
    }
}

#[test]
fn with_all_rules_nothing_is_paid_twice_or_forgotten() {
    for class in [Class::Nothing, Class::Lookup, Class::Callback, Class::Idempotent] {
        let states = explore(&Protocol { rules: ALL_ON, class });
        let states = states.unwrap_or_else(|found| panic!("{class:?}: {found:#?}"));
        println!("protocol, {class:?}: {states} states");
        assert!(states > 500, "the model hardly moves: {states}");
    }
}

/// A rule that can be switched off without harm is no rule, or the model is blind.
#[test]
fn without_any_rule_there_is_a_counterexample() {
    let ablations = [
        ("R1", Class::Nothing, Rules { r1_intent_first: false, ..ALL_ON }),
        ("R2", Class::Nothing, Rules { r2_own_commit_only: false, ..ALL_ON }),
        ("R4", Class::Nothing, Rules { r4_takeover_never_sends: false, ..ALL_ON }),
        ("R5", Class::Nothing, Rules { r5_evidence_is_unfenced: false, ..ALL_ON }),
        ("R7a", Class::Lookup, Rules { r7a_settled: false, ..ALL_ON }),
        ("R7b", Class::Lookup, Rules { r7b_listing_covers: false, ..ALL_ON }),
        ("R7c", Class::Lookup, Rules { r7c_sender_is_done: false, ..ALL_ON }),
        ("R7c, whose word", Class::Lookup, Rules { r7c_own_word: false, ..ALL_ON }),
        ("R7c, every send", Class::Idempotent, Rules { r7c_word_of_all: false, ..ALL_ON }),
        ("R8, the key", Class::Idempotent, Rules { r8_same_key: false, ..ALL_ON }),
        ("R8, the refusal", Class::Idempotent, Rules { r8_refusal_does_not_close: false, ..ALL_ON }),
    ];
    for (rule, class, rules) in ablations {
        let found: Counterexample = explore(&Protocol { rules, class }).expect_err(rule);
        println!("without {rule}: {} after {} actions", found.what, found.trace.len());
        assert!(found.trace.len() <= 20, "{rule}: {found:#?}");
    }
}

/// Without refusals, and without the sender's own look-ups: `check` fails where the other one proved absence.
struct Successor(Protocol);

impl Model for Successor {
    type State = State;
    type Key = State;

    fn start(&self) -> State {
        self.0.start()
    }

    fn key(&self, state: &State) -> State {
        *state
    }

    fn next(&self, state: &State) -> Ways {
        let ours = |label: &str| !["refuses", "could not send", "0 takes"].iter().any(|other| label.contains(other));
        self.0.next(state).into_iter().filter(|next| ours(&next.label)).collect()
    }

    fn check(&self, state: &State) -> Result<(), String> {
        let lives = state.senders[0] == 1 && state.phases[0] == Phase::Idle;
        let proved = lives && state.owner == Some(1) && state.rows[0] == Row::NotAccepted;
        if proved { Err("proved".to_owned()) } else { Ok(()) }
    }

    fn is_rest(&self, state: &State) -> bool {
        self.0.is_rest(state)
    }
}

#[test]
fn a_successor_proves_absence_although_the_sender_lives_and_not_before_its_word() {
    let found = explore(&Successor(Protocol { rules: ALL_ON, class: Class::Lookup })).expect_err("it proves absence");
    let place = |what: &str| found.trace.iter().position(|label| label.contains(what));
    assert_eq!(found.what, "proved");
    assert!(place("0 testifies Nothing").is_some() && place("0 testifies Nothing") < place("1 takes 0"), "{found:#?}");
}
