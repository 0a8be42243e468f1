//! How a video comes along: a bar on a terminal, plain lines in a pipe, events for programs.

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;

use super::output::{self, member};

/// A plain line for each step of this many percent.
const LINE_STEP_PERCENT: u64 = 10;
/// How often the bar turns.
const TICK: Duration = Duration::from_millis(120);

/// One way to show progress.
pub(crate) enum Progress {
    /// For people who watch.
    Bar(ProgressBar),
    /// For logs.
    Lines { state: String, percent: u64 },
    /// For programs: the events as they are.
    Json,
}

impl Progress {
    /// The way that suits standard output.
    pub(crate) fn new(json: bool) -> Self {
        if json {
            return Self::Json;
        }
        if !stdout().is_terminal() {
            return Self::Lines { state: String::new(), percent: 0 };
        }
        let bar = ProgressBar::with_draw_target(Some(100), ProgressDrawTarget::stderr());
        bar.enable_steady_tick(TICK);
        draw(&bar, false);
        Self::Bar(bar)
    }

    /// Shows one event of the video.
    pub(crate) fn event(&mut self, event: &Value) {
        let Some(video) = event.get("data") else { return };
        let (state_now, percent_now) =
            (member(video, "state"), video.get("progress").and_then(Value::as_u64).unwrap_or(0));
        match self {
            Self::Bar(bar) => {
                draw(bar, video.get("progress_source").is_some_and(|source| !source.is_null()));
                bar.set_message(state_now);
                bar.set_position(percent_now.min(100));
            }
            Self::Lines { state, percent } => {
                let id = member(video, "id");
                let step = percent_now / LINE_STEP_PERCENT * LINE_STEP_PERCENT;
                if *state != state_now {
                    output::line(&format!("{id} {state_now}"));
                    (*state, *percent) = (state_now, step);
                }
                if step > *percent && step < 100 {
                    output::line(&format!("{id} {state} {step} %"));
                    *percent = step;
                }
            }
            Self::Json => output::line(&event.to_string()),
        }
        if event.get("type").is_some_and(|kind| kind == "video.held") {
            let id = member(video, "id");
            let message = format!(
                "{id} is held: nobody can find out whether the provider accepted it; decide with longtake videos resolve {id} --help"
            );
            self.note(&message);
        }
    }

    /// Says something beside.
    pub(crate) fn note(&self, message: &str) {
        match self {
            Self::Bar(bar) => bar.suspend(|| output::complain(message)),
            Self::Lines { .. } | Self::Json => output::complain(message),
        }
    }

    /// Clears the line of the bar.
    pub(crate) fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// A bar where someone knows how far it is; else only the time that has passed: a percentage is never invented.
fn draw(bar: &ProgressBar, is_known: bool) {
    let known = "{spinner} {msg:<12} {bar:32} {pos:>3} %  {elapsed}";
    let template = if is_known { known } else { "{spinner} {msg:<12} {elapsed}" };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}
