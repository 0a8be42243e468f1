//! Looking for work: what there is room for, what is given back on the way, and what comes of it.

use std::time::Duration;

use longtake_core::id::{AccountId, Fence};
use longtake_core::state::JobState;
use longtake_core::store::{Claim, Release, StoreError, Wanted, WantedAccount, WorkKey, WorkKind};

use super::{ADOPT_EVERY, Executor, Message, RELEASE_BATCH};
use crate::context::Context;
use crate::steps::HURRIED_POLLS;
use crate::task::Task;

/// Who owns more than its share of an account leaves due work of it to the others for so long.
const PATIENCE: Duration = Duration::from_secs(1);

/// What came back from a background look at the store.
pub(super) struct Look {
    /// What was found, also where an error ended the look: who is told of news is told once.
    claims: Vec<Claim>,
    /// Own work that was read again, and how much was asked for.
    reread: (Vec<Claim>, usize),
    /// What ended it half-way.
    error: Option<StoreError>,
    /// News may have been told, and the answer lost.
    lost_news: bool,
    /// There was as much as could be taken: look again at once.
    more: bool,
    /// The queue gave all that was asked for: there may be more. `None` where it was not asked.
    hungry: Option<bool>,
}

impl Executor {
    /// Whether more of an account is owned than is fair; a little more is no reason to pass it around.
    pub(super) fn has_excess(&self, account: AccountId) -> bool {
        let Some(share) = self.shares.get(&account) else { return false };
        let batch = u32::try_from(self.config().acquire_batch).unwrap_or(u32::MAX);
        let owned = self.owned.of(account);
        // Nobody owned what came since the last beat, so no share counts it: it is everyone's alike. Without this, what
        // was just given back would be given back by each who takes it, and nobody would poll it.
        let since = owned.saturating_sub(self.told.get(&account).copied().unwrap_or(0));
        let fair = share.rows.saturating_add(since / share.executors.max(1));
        owned > fair.saturating_add(batch.min(fair / 4 + 16))
    }

    pub(super) fn begin_look(&mut self, now: Duration) {
        (self.looking, self.looked_at) = (true, now);
        self.look_at = now + self.config().look_interval;
        let wanted = self.wanted(now);
        let adopt = self.adopt_at <= now;
        let known = if adopt { self.owned.fences() } else { Vec::new() };
        if adopt {
            self.adopt_at = now + ADOPT_EVERY;
        }
        let returns = self.take_returns();
        let to_reread: Vec<_> = self.to_reread.iter().rev().take(self.config().acquire_batch).copied().collect();
        let context = self.context.clone();
        let asked = Asked { wanted, known: adopt.then_some(known), returns, to_reread };
        self.calls.spawn(async move { Message::Look(look(&context, asked).await) });
    }

    /// A look for nothing but news of own work.
    pub(super) fn begin_news_look(&mut self, now: Duration) {
        self.looking = true;
        self.news_at = now;
        let context = self.context.clone();
        self.calls.spawn(async move { Message::Look(news(&context).await) });
    }

    /// When own work is asked for news next: only while there is some that a provider calls back about.
    pub(super) fn next_news(&self) -> Option<Duration> {
        let interval = self.config().news_interval?;
        let expected = self.calling_back.iter().any(|account| self.owned.of(*account) > 0);
        expected.then(|| self.news_at.max(self.looked_at) + interval)
    }

    /// What there is room for. Accounts take turns at being asked first.
    fn wanted(&mut self, now: Duration) -> Wanted {
        let room = self.config().max_owned.saturating_sub(self.owned.len());
        let due = room.min(self.config().acquire_batch);
        let queued = room.min(self.admission.room());
        let context = self.context.clone();
        let mut accounts: Vec<WantedAccount> = (context.parts.accounts.iter())
            .filter(|(_, entry)| entry.drives)
            .map(|(account, entry)| {
                let excess = self.has_excess(*account);
                WantedAccount {
                    account: *account,
                    limits: entry.limits,
                    pools: context.pools(*account),
                    takes_queued: self.admission.is_open(*account, now) && (!excess || self.may_ask(*account, now)),
                    overdue: if excess { PATIENCE } else { Duration::ZERO },
                }
            })
            .collect();
        self.first = self.first.wrapping_add(1);
        if !accounts.is_empty() {
            let first = self.first % accounts.len();
            accounts.rotate_left(first);
        }
        Wanted { due, queued, accounts }
    }

    /// Where others hold less, the queue is theirs first; but nobody waits for one who does not take.
    fn may_ask(&mut self, account: AccountId, now: Duration) -> bool {
        let asked = self.asked.entry(account).or_insert(now);
        let may = now.saturating_sub(*asked) >= PATIENCE;
        if may {
            *asked = now;
        }
        may
    }

    fn take_returns(&mut self) -> Vec<Release> {
        let mut rows = Vec::with_capacity(self.returns.len());
        for (work, (due_at, place)) in std::mem::take(&mut self.returns) {
            if let Some(task) = self.owned.take(work) {
                self.owned.end_busy(work, task.fence);
                rows.push(Release { work, fence: task.fence, due_at, place });
            }
        }
        rows
    }

    pub(super) fn take_look(&mut self, look: Look) {
        self.looking = false;
        let now = self.now();
        self.hungry = look.hungry.unwrap_or(self.hungry);
        let (reread, asked) = look.reread;
        self.to_reread.truncate(self.to_reread.len().saturating_sub(asked));
        if look.lost_news {
            self.to_reread = self.owned.fences().into_iter().map(|(work, _)| work).collect();
        }
        let changed = reread.into_iter().filter(|claim| self.is_changed(claim));
        let claims: Vec<Claim> = look.claims.into_iter().chain(changed).collect();
        for claim in claims {
            self.take_claim(claim, now);
        }
        match look.error {
            Some(error) => {
                tracing::warn!(%error, "work could not be looked for");
                self.adopt_at = now + self.config().look_interval;
            }
            None if look.more || !self.to_reread.is_empty() => self.look_at = now,
            None => {}
        }
    }

    /// Whether own work is other than we think; what is busy is always read again.
    fn is_changed(&self, claim: &Claim) -> bool {
        let same = |task: &Task| task.record == claim.record && task.late.as_deref() == claim.late.as_ref();
        self.owned.knows(claim.work, claim.fence) && !self.owned.idle(claim.work).is_some_and(same)
    }

    fn take_claim(&mut self, claim: Claim, now: Duration) {
        let (work, fence) = (claim.work, claim.fence);
        if self.owned.wake_busy(work, fence) {
            return;
        }
        let mut task = match self.owned.knows(work, fence).then(|| self.owned.take(work)).flatten() {
            Some(mut task) => {
                task.memory.hurried = HURRIED_POLLS;
                task
            }
            None => Box::new(Task::new(claim.clone())),
        };
        task.refresh(claim.record, claim.late);
        task.account = self.context.account_of(&task);
        self.owned.end_busy(work, fence);
        self.returns.remove(&work);
        self.owned.put(task, now);
    }
}

/// What a look asks for.
struct Asked {
    wanted: Wanted,
    /// Own work that is remembered, if what is not is asked for.
    known: Option<Vec<(WorkKey, Fence)>>,
    returns: Vec<Release>,
    /// Own work to be read again.
    to_reread: Vec<WorkKey>,
}

impl Look {
    const NOTHING: Self =
        Self { claims: Vec::new(), reread: (Vec::new(), 0), error: None, lost_news: false, more: false, hungry: None };

    /// Own work that was woken. What is told is not told again: without an answer nobody knows whether it was.
    async fn ask_news(&mut self, context: &Context) -> Result<(), StoreError> {
        let batch = context.parts.config.acquire_batch;
        self.lost_news = true;
        self.claims = context.parts.store.woken(context.executor, batch).await?;
        (self.lost_news, self.more) = (false, self.claims.len() >= batch);
        Ok(())
    }

    /// Own work that was woken, due work nobody owns, and, if asked, own work nobody here remembers.
    async fn ask(&mut self, context: &Context, asked: Asked) -> Result<(), StoreError> {
        let Asked { wanted, known, returns, to_reread } = asked;
        let store = &context.parts.store;
        let batch = context.parts.config.acquire_batch;
        for rows in returns.chunks(RELEASE_BATCH) {
            store.release(context.executor, rows.to_vec()).await?;
        }
        self.ask_news(context).await?;
        if !to_reread.is_empty() {
            let count = to_reread.len();
            self.reread = (store.claims(context.executor, to_reread).await?, count);
        }
        if let Some(known) = known {
            let owned = store.owned(context.executor).await?;
            let strange: Vec<_> = owned
                .into_iter()
                .filter(|row| known.binary_search(row).is_err())
                .map(|(work, _)| work)
                .take(batch)
                .collect();
            if !strange.is_empty() {
                self.claims.extend(store.claims(context.executor, strange).await?);
            }
        }
        // An account that was not asked, since enough of it waits here, may have more.
        let mut hungry = wanted.queued == 0 || wanted.accounts.iter().any(|account| !account.takes_queued);
        if wanted.due + wanted.queued > 0 {
            let acquired = store.acquire(context.executor, &wanted).await?;
            let fresh = acquired.iter().filter(|claim| is_fresh(claim)).count();
            hungry |= fresh > 0;
            self.more |= acquired.len() - fresh >= wanted.due.max(1);
            self.claims.extend(acquired);
        }
        self.hungry = Some(hungry);
        Ok(())
    }
}

async fn look(context: &Context, asked: Asked) -> Look {
    let mut look = Look { hungry: Some(true), ..Look::NOTHING };
    look.error = look.ask(context, asked).await.err();
    look
}

async fn news(context: &Context) -> Look {
    let mut look = Look::NOTHING;
    look.error = look.ask_news(context).await.err();
    look
}

/// It was taken for a submission.
fn is_fresh(claim: &Claim) -> bool {
    claim.work.kind == WorkKind::Drive && matches!(claim.record.state, JobState::Queued)
}
