//! The search: visits every state once, remembers how it came there, and finds states from which no fair path leads to rest.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

/// One way on from a state.
pub struct Next<S> {
    /// What happened, for traces.
    pub label: String,
    /// It happens sooner or later by itself: no fault, no client and no luck is needed.
    pub fair: bool,
    /// Where it leads.
    pub state: S,
}

/// Something to be explored.
pub trait Model {
    type State;
    type Key: Eq + Hash;
    fn start(&self) -> Self::State;
    /// What tells states apart.
    fn key(&self, state: &Self::State) -> Self::Key;
    fn next(&self, state: &Self::State) -> Vec<Next<Self::State>>;
    /// What must hold in every state.
    fn check(&self, state: &Self::State) -> Result<(), String>;
    /// Nothing remains to be done.
    fn is_rest(&self, state: &Self::State) -> bool;
}

/// A way into a state that must not be.
#[derive(Debug)]
pub struct Counterexample {
    pub what: String,
    pub trace: Vec<String>,
}

/// More states than this are a mistake in the bounds of a model.
const MAX_STATES: usize = 2_000_000;

struct Graph {
    /// How each state was first reached.
    came: Vec<(usize, String)>,
    /// Fair ways, backwards.
    back: Vec<Vec<usize>>,
    rest: Vec<bool>,
}

impl Graph {
    fn trace(&self, mut at: usize) -> Vec<String> {
        let mut trace = Vec::new();
        while at != 0 {
            let (from, label) = &self.came[at];
            trace.push(label.clone());
            at = *from;
        }
        trace.reverse();
        trace
    }

    /// The first state from which no fair path leads to rest.
    fn dead_end(&self) -> Option<usize> {
        let mut live = self.rest.clone();
        let mut queue: Vec<usize> = (0..live.len()).filter(|at| live[*at]).collect();
        while let Some(at) = queue.pop() {
            for from in &self.back[at] {
                if !std::mem::replace(&mut live[*from], true) {
                    queue.push(*from);
                }
            }
        }
        live.iter().position(|live| !live)
    }
}

/// Explores everything; how many states there are, or the shortest way to the first violation.
pub fn explore<M: Model>(model: &M) -> Result<usize, Counterexample> {
    let start = model.start();
    let mut known = HashMap::from([(model.key(&start), 0)]);
    let mut graph = Graph { came: vec![(0, String::new())], back: vec![Vec::new()], rest: vec![model.is_rest(&start)] };
    let mut queue = VecDeque::from([(0, start)]);
    while let Some((at, state)) = queue.pop_front() {
        for next in model.next(&state) {
            let fresh = graph.came.len();
            let to = *known.entry(model.key(&next.state)).or_insert(fresh);
            if to == fresh {
                if let Err(what) = model.check(&next.state) {
                    let mut trace = graph.trace(at);
                    trace.push(next.label);
                    return Err(Counterexample { what, trace });
                }
                assert!(fresh < MAX_STATES, "the bounds of the model are too wide");
                graph.came.push((at, next.label));
                graph.back.push(Vec::new());
                graph.rest.push(model.is_rest(&next.state));
                queue.push_back((to, next.state));
            }
            if next.fair {
                graph.back[to].push(at);
            }
        }
    }
    match graph.dead_end() {
        None => Ok(graph.came.len()),
        Some(at) => Err(Counterexample { what: "a dead end".to_owned(), trace: graph.trace(at) }),
    }
}
