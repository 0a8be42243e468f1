//! The way out: submissions under way are heard out, everything is given back, and the beat goes on until then.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use longtake_core::id::PoolId;
use longtake_core::state::JobState;
use longtake_core::store::{Beat, Place, WorkKind};
use longtake_core::time::Timestamp;

use super::{Executor, Message, RELEASE_BATCH};
use crate::context::Context;
use crate::task::Task;

impl Executor {
    /// Hands over at once: polls are broken off, sends are waited for within a bound, everything is given back. That may
    /// take longer than the ttl, so the others are told all the while that this incarnation lives.
    pub(super) async fn drain(&mut self) {
        // A beat under way is broken off with the polls, so it is due again.
        let beat_at = if self.beating { self.now() } else { self.beat_at };
        self.calls.abort_all();
        let beats = beat_on(Arc::clone(&self.context), beat_at);
        tokio::select! {
            biased;
            () = self.hand_over() => {}
            never = beats => match never {},
        }
    }

    async fn hand_over(&mut self) {
        let context = self.context.clone();
        let sends = &mut self.sends;
        let mut ended = Vec::new();
        let all = async {
            while let Some(done) = sends.join_next().await {
                ended.push(done);
            }
        };
        if context.within(context.parts.config.drain_timeout, all).await.is_none() {
            tracing::warn!("some submissions had no answer yet, their outcome is found out at the next start");
        }
        for done in ended.into_iter().flatten() {
            if let Message::Done(done) = done
                && done.rest.is_none()
            {
                self.owned.end_busy(done.work, done.fence);
            }
        }
        let now = context.now();
        let rows = self.owned.drain(|task| match task {
            // What waits for a slot goes back to its place in the queue.
            Some(task) if is_for_submission(task) => {
                let place = context.place(task, true);
                let known = place.pool != PoolId::NONE;
                (if known { task.record.deadline_at.unwrap_or(Timestamp::NEVER) } else { now }, place)
            }
            Some(task) => (now, context.place(task, false)),
            None => (now, Place::default()),
        });
        for batch in rows.chunks(RELEASE_BATCH) {
            if let Err(error) = context.parts.store.release(context.executor, batch.to_vec()).await {
                tracing::warn!(%error, "some work is not handed back, the next start takes it");
                return;
            }
        }
        tracing::info!(released = rows.len(), "work handed back");
    }
}

/// Signs of life without a load, since nothing more is taken. Once given up there is nothing left to show; what was sent
/// still hands in its evidence.
async fn beat_on(context: Arc<Context>, first_at: Duration) -> Infallible {
    let config = &context.parts.config;
    let mut next = first_at;
    loop {
        let now = context.parts.clock.monotonic();
        context.parts.clock.sleep(next.saturating_sub(now)).await;
        let asked_at = context.parts.clock.monotonic();
        next = asked_at + config.beat;
        match context.parts.store.beat(context.executor, Vec::new()).await {
            Ok(Beat::Alive(_)) => context.trust.extend(asked_at + config.ttl.saturating_sub(config.margin)),
            Ok(Beat::Dead) => {
                tracing::warn!(executor = %context.executor, "given up by the others while handing over");
                std::future::pending::<()>().await;
            }
            Err(error) => tracing::warn!(%error, "the executor could not show that it lives"),
        }
    }
}

/// All there is to do for it is to submit it.
fn is_for_submission(task: &Task) -> bool {
    let queued = matches!(task.record.state, JobState::Queued);
    task.work.kind == WorkKind::Drive && queued && !task.record.cancel_pending() && !task.record.has_news()
}
