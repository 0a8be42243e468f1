//! `[retention]` and `[retention.projects.NAME]`: how long what is over is kept.

use std::fmt;
use std::time::Duration;

use longtake_core::retention::Keep;
use toml::{Table, Value};

use super::ConfigError;
use super::layers::Layers;
use super::nearest::suggestion;
use super::read::{Reader, Setting};
use super::sections::{Field, RetentionConfig, Section};

/// How long something is kept: a time, or for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept(pub Option<Duration>);

impl Kept {
    /// The word for no end.
    const FOREVER_WORD: &str = "forever";
    /// It never goes.
    pub const FOREVER: Self = Self(None);
    /// Longer is a mistake, or for ever: a hundred years.
    const MAX: Duration = Duration::from_secs(36_500 * 86_400);

    fn parse(text: &str) -> Option<Self> {
        if text == Self::FOREVER_WORD {
            return Some(Self::FOREVER);
        }
        let (number, unit_secs) = UNITS.iter().find_map(|(unit, secs)| Some((text.strip_suffix(unit)?, *secs)))?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        let number: u64 = is_number.then(|| number.parse().ok())??;
        Some(Self(Some(Duration::from_secs(number.checked_mul(unit_secs)?))))
    }
}

/// What a time may end in, and how many seconds that is; the largest first.
const UNITS: [(&str, u64); 5] = [("w", 604_800), ("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(secs) = self.0.map(|kept| kept.as_secs()) else { return f.write_str(Self::FOREVER_WORD) };
        // Two weeks read better as 14 days.
        let whole = UNITS.iter().skip(1).find(|(_, unit)| secs >= *unit && secs.is_multiple_of(*unit));
        let (unit, unit_secs) = whole.copied().unwrap_or(("s", 1));
        write!(f, "{}{unit}", secs / unit_secs)
    }
}

impl Setting for Kept {
    const KIND: &'static str = "a time such as \"30d\" or \"12h\", or \"forever\"";
    const IS_TEXT: bool = true;

    fn read(value: &Value) -> Option<Self> {
        Self::parse(value.as_str()?.trim())
    }

    fn show(&self) -> Option<String> {
        Some(format!("\"{self}\""))
    }
}

/// What one project keeps otherwise; what it does not say is as in `[retention]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProjectRetention {
    /// The NAME of `[retention.projects.NAME]`.
    pub name: String,
    /// Finished videos.
    pub jobs: Option<Kept>,
    /// Their events.
    pub events: Option<Kept>,
    /// Their bytes.
    pub artifacts: Option<Kept>,
}

impl ProjectRetention {
    /// What holds for the project.
    pub fn over(&self, default: &RetentionConfig) -> Keep {
        Keep {
            jobs: self.jobs.unwrap_or(default.jobs).0,
            events: self.events.unwrap_or(default.events).0,
            artifacts: self.artifacts.unwrap_or(default.artifacts).0,
        }
    }
}

impl RetentionConfig {
    /// What holds for projects without a word of their own.
    pub const fn keep(&self) -> Keep {
        Keep { jobs: self.jobs.0, events: self.events.0, artifacts: self.artifacts.0 }
    }
}

/// A policy for people.
pub fn shown(keep: &Keep) -> String {
    let [jobs, events, artifacts] = [keep.jobs, keep.events, keep.artifacts].map(Kept);
    format!("jobs {jobs}, events {events}, artifacts {artifacts}")
}

/// The keys of a project's retention: those of the section, unset.
pub fn project_fields() -> Vec<Field> {
    let of_section = RetentionConfig::fields().into_iter();
    of_section
        .map(|field| Field { docs: &[" As in `[retention]`, for this project."], default: None, ..field })
        .collect()
}

/// Longest name of a project, in characters, as for API keys.
const MAX_NAME_CHARS: usize = 64;
/// The section and its part.
const RETENTION: &str = "retention";
const PROJECTS: &str = "projects";

/// Takes the section and what projects keep otherwise out of the whole.
///
/// # Errors
/// The first thing that is wrong.
pub fn take(layers: &Layers, table: &mut Table) -> Result<(RetentionConfig, Vec<ProjectRetention>), ConfigError> {
    let mut inner = match table.remove(RETENTION) {
        None => return Ok((RetentionConfig::default(), Vec::new())),
        Some(Value::Table(inner)) => inner,
        Some(_) => return Err(layers.error(&[RETENTION], "is a section; write [retention] and its settings below")),
    };
    let projects = inner.remove(PROJECTS);
    let known: Vec<&str> = RetentionConfig::fields().iter().map(|field| field.name).chain([PROJECTS]).collect();
    if let Some(stranger) = inner.keys().find(|key| !known.contains(&key.as_str())) {
        let problem = format!("unknown key{}", suggestion(stranger, &known));
        return Err(layers.error(&[RETENTION, stranger], &problem));
    }
    let section = RetentionConfig::read(layers, inner)?;
    for (name, kept, least) in parts([section.jobs, section.events, section.artifacts].map(Some)) {
        check(layers, &[RETENTION, name], kept, least)?;
    }
    let projects = match projects {
        None => Table::new(),
        Some(Value::Table(projects)) => projects,
        Some(_) => {
            return Err(layers.error(&[RETENTION, PROJECTS], "must be sections; write [retention.projects.NAME]"));
        }
    };
    let projects = projects.into_iter().map(|(name, value)| project(layers, name, value)).collect::<Result<_, _>>()?;
    Ok((section, projects))
}

fn project(layers: &Layers, name: String, value: Value) -> Result<ProjectRetention, ConfigError> {
    let wrong = |problem: &str| Err(layers.error(&[RETENTION, PROJECTS, &name], problem));
    let Value::Table(table) = value else {
        return wrong(&format!("must be a section; write [retention.projects.{name}]"));
    };
    let chars = name.chars().count();
    if name.trim().is_empty() || chars > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        return wrong(&format!(
            "a project's name has 1 to {MAX_NAME_CHARS} characters; write it as its API keys have it"
        ));
    }
    let path = [RETENTION, PROJECTS, &name].map(str::to_owned).to_vec();
    let mut reader = Reader::new(layers, path, table);
    let project = ProjectRetention {
        jobs: reader.take("jobs", None, None)?,
        events: reader.take("events", None, None)?,
        artifacts: reader.take("artifacts", None, None)?,
        name: name.clone(),
    };
    reader.finish(&project_fields().iter().map(|field| field.name).collect::<Vec<_>>())?;
    for (key, kept, least) in parts([project.jobs, project.events, project.artifacts]) {
        check(layers, &[RETENTION, PROJECTS, &name, key], kept, least)?;
    }
    Ok(project)
}

/// The shortest time, and why less is refused.
type Least = (Duration, &'static str);

const LEAST_JOBS: Least =
    (Keep::MIN_JOBS, "idempotency keys live as long as their videos, and clients rely on them for a day");
const LEAST_PART: Least = (Keep::MIN_PART, "clients that were just told would come too late");

/// The three with their names and bounds.
fn parts([jobs, events, artifacts]: [Option<Kept>; 3]) -> [(&'static str, Option<Kept>, Least); 3] {
    [("jobs", jobs, LEAST_JOBS), ("events", events, LEAST_PART), ("artifacts", artifacts, LEAST_PART)]
}

fn check(layers: &Layers, path: &[&str], kept: Option<Kept>, (least, why): Least) -> Result<(), ConfigError> {
    let Some(Kept(Some(time))) = kept else { return Ok(()) };
    let shown = |time| Kept(Some(time));
    let problem = match time {
        _ if time < least => format!("{} is too short: {why}; write at least \"{}\"", shown(time), shown(least)),
        _ if time > Kept::MAX => format!("{} is too long; write at most \"{}\"", shown(time), shown(Kept::MAX)),
        _ => return Ok(()),
    };
    Err(layers.error(path, &format!("{problem}, or \"forever\"")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_read_as_it_is_shown() {
        for (text, secs, shown) in [
            ("30d", 30 * 86_400, "30d"),
            ("2w", 14 * 86_400, "14d"),
            ("24h", 86_400, "1d"),
            ("36h", 36 * 3_600, "36h"),
            ("90m", 5_400, "90m"),
            ("5s", 5, "5s"),
            ("0d", 0, "0s"),
        ] {
            let kept = Kept(Some(Duration::from_secs(secs)));
            assert_eq!(Kept::parse(text), Some(kept), "{text}");
            assert_eq!(kept.to_string(), shown, "{text}");
        }
        assert_eq!(Kept::parse("forever"), Some(Kept::FOREVER));
        for wrong in ["", "30", "d", "+3d", "1.5d", "3 d", "30days", "Forever", "never", "99999999999999999999d"] {
            assert_eq!(Kept::parse(wrong), None, "{wrong}");
        }
        assert_eq!(Kept::parse("18446744073709551615w"), None);
    }
}
