//! The store calls that steps share, each gathered from single items.

use std::sync::Arc;

use longtake_core::id::ExecutorId;
use longtake_core::store::{EvidenceRecord, OpenAttempt, OpenResult, StepCommit, StepResult, Store};
use tokio::task::JoinSet;

use crate::batch::Batcher;

/// The three calls that are gathered from single items.
pub(super) type Batches =
    (Batcher<OpenAttempt, OpenResult>, Batcher<EvidenceRecord, ()>, Batcher<StepCommit, StepResult>);

pub(super) fn start_batches(batches: &mut JoinSet<()>, store: &Arc<dyn Store>, executor: ExecutorId) -> Batches {
    let (opens, steps) = (store.clone(), store.clone());
    let opens = Batcher::start(
        batches,
        1,
        Box::new(move |intents| {
            let store = opens.clone();
            Box::pin(async move { store.open_attempts(executor, intents).await })
        }),
    );
    let evidence = start_evidence(batches, 1, store);
    let steps = Batcher::start(
        batches,
        1,
        Box::new(move |commits| {
            let store = steps.clone();
            Box::pin(async move { store.step(executor, commits).await })
        }),
    );
    (opens, evidence, steps)
}

/// Records evidence, with up to `max_calls` calls under way at once.
pub(crate) fn start_evidence(
    tasks: &mut JoinSet<()>,
    max_calls: usize,
    store: &Arc<dyn Store>,
) -> Batcher<EvidenceRecord, ()> {
    let store = store.clone();
    Batcher::start(
        tasks,
        max_calls,
        Box::new(move |records| {
            let store = store.clone();
            Box::pin(async move {
                let answers = vec![(); records.len()];
                store.record_evidence(records).await.map(|()| answers)
            })
        }),
    )
}
