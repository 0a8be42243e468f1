//! Gathers single items into few store calls: what queues up while one call runs is the next call.
//!
//! Nobody waits for a batch to fill; the commit under way is the window. Answers go back one by one.

use std::future::Future;
use std::pin::Pin;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use longtake_core::store::StoreError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// Most items in one store call.
const MAX_BATCH: usize = 500;
/// Most items waiting; a caller beyond waits for room.
const MAX_QUEUE: usize = 4_096;

type Answer<O> = oneshot::Sender<Result<O, StoreError>>;
type Run<I, O> = Box<dyn Fn(Vec<I>) -> Pin<Box<dyn Future<Output = Result<Vec<O>, StoreError>> + Send>> + Send>;

/// One kind of store call, fed by single items.
pub struct Batcher<I, O> {
    queue: mpsc::Sender<(I, Answer<O>)>,
}

impl<I, O> Clone for Batcher<I, O> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

impl<I: Send + 'static, O: Send + 'static> Batcher<I, O> {
    /// Starts its loop in `tasks`, with up to `max_calls` store calls under way at once; it ends when the last clone is
    /// dropped or the tasks are.
    pub fn start(tasks: &mut JoinSet<()>, max_calls: usize, run: Run<I, O>) -> Self {
        let (queue, mut items) = mpsc::channel::<(I, Answer<O>)>(MAX_QUEUE);
        tasks.spawn(async move {
            let mut gathered = Vec::with_capacity(MAX_BATCH);
            let mut calls = FuturesUnordered::new();
            loop {
                tokio::select! {
                    biased;
                    Some(()) = calls.next(), if !calls.is_empty() => {}
                    count = items.recv_many(&mut gathered, MAX_BATCH), if calls.len() < max_calls => {
                        if count == 0 {
                            break;
                        }
                        let (inputs, answers): (Vec<I>, Vec<Answer<O>>) = gathered.drain(..).unzip();
                        let call = run(inputs);
                        calls.push(async move { answer(call.await, answers) });
                    }
                }
            }
            while calls.next().await.is_some() {}
        });
        Self { queue }
    }

    /// Hands one item in and waits for its answer.
    ///
    /// # Errors
    /// As the store call; `CommitUnknown` also where the loop ended under way.
    pub async fn submit(&self, item: I) -> Result<O, StoreError> {
        let (sender, receiver) = oneshot::channel();
        if self.queue.send((item, sender)).await.is_err() {
            return Err(StoreError::Failed("the engine is stopping".into()));
        }
        receiver.await.unwrap_or(Err(StoreError::CommitUnknown))
    }
}

fn answer<O>(result: Result<Vec<O>, StoreError>, answers: Vec<Answer<O>>) {
    match result {
        // A caller that went away needs no answer; what it asked for is committed all the same.
        Ok(outputs) => {
            for (output, answer) in outputs.into_iter().zip(answers) {
                let _ = answer.send(Ok(output));
            }
        }
        Err(error) => {
            for answer in answers {
                let _ = answer.send(Err(again(&error)));
            }
        }
    }
}

/// The same error for each of a batch.
fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::CommitUnknown => StoreError::CommitUnknown,
        StoreError::Full => StoreError::Full,
        StoreError::Cursor => StoreError::Cursor,
        StoreError::CursorExpired => StoreError::CursorExpired,
        StoreError::Failed(source) => StoreError::Failed(source.to_string().into()),
    }
}
