//! Which queued jobs may start: by priority and age within an account, as far as the account has room.
//!
//! The store counts what runs at the provider; here it is only remembered that an account said "full", so that waiting
//! jobs cost nothing until a slot is freed. `max_inflight_sends` bounds what can be uncertain after a crash (rule R11).

use std::collections::{BTreeMap, BTreeSet};

use longtake_core::id::AccountId;
use longtake_core::store::WorkKey;

#[derive(Default)]
struct Gate {
    /// Lowest first: the negated priority, then the job's id, which sorts by age.
    waiting: BTreeSet<(i16, WorkKey)>,
    /// Submissions that may be tried while the account is known to be full; `None` while it is not.
    credit: Option<u32>,
}

/// Jobs that want to be submitted.
pub struct Admission {
    gates: BTreeMap<AccountId, Gate>,
    sends: usize,
    max_sends: usize,
    /// The account served last: the next turn begins behind it.
    last: Option<AccountId>,
}

impl Admission {
    /// Nobody waits yet.
    pub const fn new(max_sends: usize) -> Self {
        Self { gates: BTreeMap::new(), sends: 0, max_sends, last: None }
    }

    /// Lets a job wait for its turn at an account.
    pub fn wait(&mut self, account: AccountId, priority: i16, work: WorkKey) {
        self.gates.entry(account).or_default().waiting.insert((priority.saturating_neg(), work));
    }

    /// Takes the next job that may be submitted now, accounts in turn; it counts as being sent until [`Admission::sent`].
    pub fn take_next(&mut self) -> Option<WorkKey> {
        if self.sends >= self.max_sends {
            return None;
        }
        let open = |gate: &Gate| !gate.waiting.is_empty() && gate.credit != Some(0);
        let behind = self.last.and_then(|last| {
            self.gates.range((std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded)).find(|(_, gate)| open(gate))
        });
        let account = *behind.or_else(|| self.gates.iter().find(|(_, gate)| open(gate)))?.0;
        let gate = self.gates.get_mut(&account)?;
        let (_, work) = gate.waiting.pop_first()?;
        gate.credit = gate.credit.map(|credit| credit.saturating_sub(1));
        self.sends += 1;
        self.last = Some(account);
        Some(work)
    }

    /// A submission ended, whatever became of it.
    pub const fn sent(&mut self) {
        self.sends = self.sends.saturating_sub(1);
    }

    /// The account has no room: only freed slots let further jobs try.
    pub fn full(&mut self, account: AccountId) {
        self.gates.entry(account).or_default().credit = Some(0);
    }

    /// A slot of the account was freed, or may have been.
    pub fn freed(&mut self, account: AccountId) {
        if let Some(Some(credit)) = self.gates.get_mut(&account).map(|gate| &mut gate.credit) {
            *credit = credit.saturating_add(1);
        }
    }

    /// Lets one job try at each full account: another process may have freed a slot.
    pub fn probe(&mut self) {
        for gate in self.gates.values_mut() {
            if gate.credit == Some(0) && !gate.waiting.is_empty() {
                gate.credit = Some(1);
            }
        }
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.gates.values().map(|gate| gate.waiting.len()).sum()
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
        let mut admission = Admission::new(10);
        let (a, b) = (AccountId(1), AccountId(2));
        admission.wait(a, 0, work(2));
        admission.wait(a, 0, work(1));
        admission.wait(a, 5, work(3));
        admission.wait(b, 0, work(4));
        let order: Vec<_> = std::iter::from_fn(|| admission.take_next()).collect();
        assert_eq!(order, [work(3), work(4), work(1), work(2)]);
    }

    #[test]
    fn a_full_account_holds_back_its_own_jobs_until_a_slot_is_freed() {
        let mut admission = Admission::new(10);
        let (full, other) = (AccountId(1), AccountId(2));
        admission.full(full);
        admission.wait(full, 0, work(1));
        admission.wait(full, 0, work(2));
        admission.wait(other, 0, work(3));
        assert_eq!(admission.take_next(), Some(work(3)));
        assert_eq!(admission.take_next(), None);
        admission.freed(full);
        assert_eq!(admission.take_next(), Some(work(1)));
        assert_eq!(admission.take_next(), None);
        admission.probe();
        assert_eq!(admission.take_next(), Some(work(2)));
    }

    #[test]
    fn no_more_are_sent_at_once_than_may_be_uncertain() {
        let mut admission = Admission::new(1);
        admission.wait(AccountId(1), 0, work(1));
        admission.wait(AccountId(1), 0, work(2));
        assert!(admission.take_next().is_some());
        assert!(admission.take_next().is_none());
        admission.sent();
        assert!(admission.take_next().is_some());
    }
}
