//! What was measured: a line for the terminal, a table for docs/benchmarks.md.

use std::fmt::Write;
use std::path::Path;

use crate::Outcome;

/// Whether a bar was reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Pass,
    Missed,
    /// A figure without a bar.
    Stated,
}

impl Verdict {
    pub const fn of(reached: bool) -> Self {
        if reached { Self::Pass } else { Self::Missed }
    }

    const fn word(self) -> &'static str {
        match self {
            Self::Pass => "PASS",
            Self::Missed => "MISSED",
            Self::Stated => "stated",
        }
    }
}

/// One measured thing.
#[derive(Debug, Clone)]
pub struct Figure {
    pub what: String,
    pub ours: String,
    /// Empty where there is none.
    pub peer: String,
    pub ratio: String,
    pub bar: String,
    pub verdict: Verdict,
}

impl Figure {
    /// A figure whose bar is a share of the peer's.
    pub fn at_least(what: impl Into<String>, ours: (String, f64), peer: (String, f64), bar: f64) -> Self {
        let ratio = ours.1 / peer.1.max(f64::MIN_POSITIVE);
        Self {
            what: what.into(),
            ours: ours.0,
            peer: peer.0,
            ratio: format!("{ratio:.2}"),
            bar: format!(">= {bar} x"),
            verdict: Verdict::of(ratio >= bar),
        }
    }

    /// A figure whose bar is a multiple of the peer's.
    pub fn at_most(what: impl Into<String>, ours: (String, f64), peer: (String, f64), bar: f64) -> Self {
        let ratio = ours.1 / peer.1.max(f64::MIN_POSITIVE);
        Self { bar: format!("<= {bar} x"), verdict: Verdict::of(ratio <= bar), ..Self::at_least(what, ours, peer, bar) }
    }

    /// A figure with a bar of its own.
    pub fn absolute(what: impl Into<String>, ours: String, reached: bool, bar: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            ours,
            peer: String::new(),
            ratio: String::new(),
            bar: bar.into(),
            verdict: Verdict::of(reached),
        }
    }

    /// A figure without a bar.
    pub fn stated(what: impl Into<String>, ours: String, peer: String) -> Self {
        Self { peer, verdict: Verdict::Stated, ..Self::absolute(what, ours, true, "") }
    }

    /// For the terminal.
    pub fn line(&self) -> String {
        let mut line = format!("{:6}  {}: ours {}", self.verdict.word(), self.what, self.ours);
        for (name, value) in [("peer", &self.peer), ("ratio", &self.ratio), ("bar", &self.bar)] {
            if !value.is_empty() {
                // Writing to a string cannot fail.
                let _ = write!(line, "; {name} {value}");
            }
        }
        line
    }

    fn row(&self) -> String {
        let verdict = self.verdict.word();
        format!("| {} | {} | {} | {} | {} | {verdict} |\n", self.what, self.ours, self.peer, self.ratio, self.bar)
    }
}

/// All figures of one run.
pub struct Report {
    machine: String,
    quick: bool,
    figures: Vec<Figure>,
}

impl Report {
    pub const fn new(machine: String, quick: bool) -> Self {
        Self { machine, quick, figures: Vec::new() }
    }

    pub fn machine(&self) -> &str {
        &self.machine
    }

    pub fn add(&mut self, figure: Figure) {
        self.figures.push(figure);
    }

    /// The table.
    pub fn markdown(&self) -> String {
        let mut text = format!("Machine: {}\n", self.machine);
        if self.quick {
            text.push_str("\nA `--quick` run: small numbers, one repetition; no figure to quote.\n");
        }
        text.push_str("\n| What | Longtake | Peer | Ratio | Bar | |\n|---|---|---|---|---|---|\n");
        text.extend(self.figures.iter().map(Figure::row));
        text
    }

    pub fn write(&self, path: &Path) -> Outcome {
        std::fs::write(path, self.markdown()).map_err(|error| format!("{}: {error}", path.display()))
    }
}
