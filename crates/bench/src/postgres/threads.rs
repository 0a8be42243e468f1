//! Cases that call the store in this process: on a runtime with a thread for each core, as the server's is.

use crate::report::Figure;
use crate::{Bench, Outcome, server_runtime};

/// Runs a case there and waits for it. Whoever waits does nothing else meanwhile, so blocking its thread is no loss.
///
/// # Errors
/// Those of the case.
pub fn on_threads<F, R>(bench: &Bench, case: F) -> Outcome<Vec<Figure>>
where
    F: FnOnce(Bench) -> R + Send + 'static,
    R: Future<Output = Outcome<Vec<Figure>>>,
{
    let bench = bench.clone();
    let thread = std::thread::spawn(move || server_runtime()?.block_on(case(bench)));
    thread.join().map_err(|_| "a case broke off; what it said stands above".to_owned())?
}
