//! Which submissions go out now: a short row of jobs that were acquired for it, and how many may be under way at once.
//!
//! Slots and pace are the store's to count, over all machines; here it is only remembered until when an account said no,
//! so that its queue is not asked in vain. `max_inflight_sends` bounds what can be uncertain after a crash (rule R11).

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use longtake_core::id::AccountId;
use longtake_core::store::WorkKey;

/// Jobs kept waiting here for each submission that may be under way: so that one starts as soon as another ends.
const AHEAD: usize = 2;

#[derive(Default)]
struct Gate {
    /// Lowest first: the negated priority, then the job's id, which sorts by age.
    waiting: BTreeSet<(i16, WorkKey)>,
    sends: usize,
    /// The store said that there is no room; on the monotonic clock, when to ask again.
    closed_until: Option<Duration>,
}

/// Jobs about to be submitted.
pub struct Admission {
    gates: BTreeMap<AccountId, Gate>,
    sends: usize,
    waiting: usize,
    max_sends: usize,
    /// Of one account, where there are several: one whose answers hang must not hold up the others.
    max_sends_each: usize,
    /// The account served last: the next turn begins behind it.
    last: Option<AccountId>,
}

impl Admission {
    /// Nobody waits yet.
    pub fn new(max_sends: usize, accounts: usize) -> Self {
        let max_sends_each = if accounts > 1 { max_sends.div_ceil(2) } else { max_sends };
        Self { gates: BTreeMap::new(), sends: 0, waiting: 0, max_sends, max_sends_each, last: None }
    }

    /// Lets a job wait for its turn at an account.
    pub fn wait(&mut self, account: AccountId, priority: i16, work: WorkKey) {
        let gate = self.gates.entry(account).or_default();
        self.waiting += usize::from(gate.waiting.insert((priority.saturating_neg(), work)));
    }

    /// Takes the next job that may be submitted now, accounts in turn; it counts as being sent until [`Admission::sent`].
    pub fn take_next(&mut self) -> Option<(AccountId, WorkKey)> {
        if self.sends >= self.max_sends {
            return None;
        }
        let most = self.max_sends_each;
        let open = |gate: &Gate| !gate.waiting.is_empty() && gate.sends < most;
        let behind = self
            .last
            .and_then(|last| self.gates.range((Bound::Excluded(last), Bound::Unbounded)).find(|(_, gate)| open(gate)));
        let account = *behind.or_else(|| self.gates.iter().find(|(_, gate)| open(gate)))?.0;
        let gate = self.gates.get_mut(&account)?;
        let (_, work) = gate.waiting.pop_first()?;
        gate.sends += 1;
        self.sends += 1;
        self.waiting -= 1;
        self.last = Some(account);
        Some((account, work))
    }

    /// A submission ended, whatever became of it.
    pub fn sent(&mut self, account: AccountId) {
        self.sends = self.sends.saturating_sub(1);
        if let Some(gate) = self.gates.get_mut(&account) {
            gate.sends = gate.sends.saturating_sub(1);
        }
    }

    /// The account has no room: its queue is not asked before then, or before a slot is freed here.
    pub fn close(&mut self, account: AccountId, until: Duration) {
        self.gates.entry(account).or_default().closed_until = Some(until);
    }

    /// A slot of the account was freed, or may have been.
    pub fn freed(&mut self, account: AccountId) {
        if let Some(gate) = self.gates.get_mut(&account) {
            gate.closed_until = None;
        }
    }

    /// How many more queued jobs to acquire.
    pub fn room(&self) -> usize {
        (AHEAD * self.max_sends).saturating_sub(self.sends + self.waiting)
    }

    /// Whether the queue of this account may be asked now.
    pub fn is_open(&self, account: AccountId, now: Duration) -> bool {
        self.gates.get(&account).is_none_or(|gate| {
            gate.closed_until.is_none_or(|until| until <= now)
                && gate.sends + gate.waiting.len() < AHEAD * self.max_sends_each
        })
    }

    /// When the first closed account may be asked again.
    pub fn next_opening(&self, now: Duration) -> Option<Duration> {
        self.gates.values().filter_map(|gate| gate.closed_until).filter(|until| *until > now).min()
    }

    /// How many wait.
    pub const fn waiting(&self) -> usize {
        self.waiting
    }

    /// How many are being sent.
    pub const fn sends(&self) -> usize {
        self.sends
    }
}

#[cfg(test)]
mod tests {
    use longtake_core::id::{JobId, Random};
    use longtake_core::time::Timestamp;

    use super::*;

    const A: AccountId = AccountId(1);
    const B: AccountId = AccountId(2);

    struct Zeros;
    impl Random for Zeros {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(0);
        }
    }

    fn work(millis: i64) -> WorkKey {
        WorkKey::drive(JobId::new(Timestamp::from_micros(millis * 1000), &Zeros))
    }

    #[test]
    fn priority_goes_first_then_age_and_accounts_take_turns() {
        let mut admission = Admission::new(10, 2);
        admission.wait(A, 0, work(2));
        admission.wait(A, 0, work(1));
        admission.wait(A, 5, work(3));
        admission.wait(B, 0, work(4));
        let order: Vec<_> = std::iter::from_fn(|| admission.take_next()).map(|(_, work)| work).collect();
        assert_eq!(order, [work(3), work(4), work(1), work(2)]);
    }

    #[test]
    fn a_closed_account_is_asked_again_in_time_or_when_a_slot_is_freed() {
        let mut admission = Admission::new(10, 2);
        let later = Duration::from_secs(2);
        assert!(admission.is_open(A, Duration::ZERO));
        admission.close(A, later);
        assert!(!admission.is_open(A, Duration::ZERO) && admission.is_open(B, Duration::ZERO));
        assert_eq!(admission.next_opening(Duration::ZERO), Some(later));
        assert!(admission.is_open(A, later));
        admission.close(A, later);
        admission.freed(A);
        assert!(admission.is_open(A, Duration::ZERO));
    }

    #[test]
    fn no_more_are_sent_at_once_than_may_be_uncertain() {
        let mut admission = Admission::new(1, 1);
        admission.wait(A, 0, work(1));
        admission.wait(A, 0, work(2));
        assert_eq!(admission.room(), 0, "two for one submission");
        assert!(admission.take_next().is_some());
        assert!(admission.take_next().is_none());
        admission.sent(A);
        assert!(admission.take_next().is_some());
        assert_eq!(admission.room(), 1);
    }

    #[test]
    fn one_account_cannot_take_all_submissions() {
        let mut admission = Admission::new(4, 2);
        for millis in 1..=8 {
            admission.wait(A, 0, work(millis));
        }
        assert_eq!(std::iter::from_fn(|| admission.take_next()).count(), 2);
        admission.wait(B, 0, work(9));
        assert_eq!(admission.take_next(), Some((B, work(9))));
        assert!(!admission.is_open(A, Duration::ZERO), "enough of it waits here");
    }
}
