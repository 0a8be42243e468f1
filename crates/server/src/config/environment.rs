//! `LONGTAKE_*` variables: which there are, and where their values belong.

use toml::{Table, Value};

use super::ConfigError;
use super::layers::{Layers, Origin};
use super::nearest::nearest;
use super::read::from_text;
use super::{accounts, retention, section_fields};

/// Names of the product that need no section.
const PLAIN: &[(&str, &[&str])] = &[
    ("LONGTAKE_DATA_DIR", &["data_dir"]),
    ("LONGTAKE_PUBLIC_URL", &["public_url"]),
    ("LONGTAKE_LISTEN", &["listen"]),
    ("LONGTAKE_ROLE", &["role"]),
    ("LONGTAKE_ARTIFACTS", &["artifacts"]),
    ("LONGTAKE_ADMIN_KEY", &["admin_key"]),
    ("LONGTAKE_SECRET_KEY", &["secret_key"]),
    ("LONGTAKE_DATABASE", &["database", "url"]),
    ("LONGTAKE_LOG", &["log", "level"]),
];
/// Names that are no settings of the file.
const OTHERS: &[&str] = &["LONGTAKE_URL", "LONGTAKE_API_KEY", "LONGTAKE_CONFIG"];
/// Names that only tests and benchmarks use.
const TESTS: &[&str] =
    &["LONGTAKE_FAILPOINT", "LONGTAKE_SIM_", "LONGTAKE_TEST_", "LONGTAKE_BENCH_", "LONGTAKE_ABLATION"];
/// What all names begin with.
const PREFIX: &str = "LONGTAKE_";

/// The plain names and what each sets, for the documentation.
pub fn plain() -> impl Iterator<Item = (&'static str, &'static [&'static str])> {
    PLAIN.iter().copied()
}

/// Puts every `LONGTAKE_*` variable on top of the file.
///
/// # Errors
/// A variable that means nothing, with the nearest that does.
pub fn apply(layers: &mut Layers, variables: &[(String, String)]) -> Result<(), ConfigError> {
    // An empty variable is an unset one.
    for (name, value) in variables.iter().filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty()) {
        if OTHERS.contains(&name.as_str()) || TESTS.iter().any(|test| name.starts_with(test)) {
            continue;
        }
        let path = match PLAIN.iter().find(|(plain, _)| plain == name) {
            Some((_, path)) => path.iter().map(|part| (*part).to_owned()).collect(),
            None => path_of(name, &layers.table).ok_or_else(|| unknown(name))?,
        };
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let text = Value::String(value.clone());
        // Only the provider knows what kind of value its option takes: what reads as TOML is taken as such.
        let value = if path.get(2) == Some(&"options") { from_text(value).unwrap_or(text) } else { text };
        layers.set(&path, value, Origin::Variable(name.clone()))?;
    }
    Ok(())
}

/// `LONGTAKE_WORKER__CONCURRENCY` → worker, concurrency; `LONGTAKE_ACCOUNTS__OUR_GPUS__API_KEY` → accounts, our-gpus, api_key.
/// So for models, and for `LONGTAKE_RETENTION__PROJECTS__NAME__JOBS`.
fn path_of(name: &str, table: &Table) -> Option<Vec<String>> {
    let rest = name.strip_prefix(PREFIX)?.to_lowercase();
    let parts: Vec<&str> = rest.split("__").collect();
    match parts.as_slice() {
        ["accounts", owner, "options", option] if !option.is_empty() => Some(vec![
            "accounts".to_owned(),
            owner_name(table.get("accounts"), owner)?,
            "options".to_owned(),
            (*option).to_owned(),
        ]),
        [kind @ ("accounts" | "models"), owner, key] => {
            let fields = if *kind == "accounts" { accounts::account_fields() } else { accounts::model_fields() };
            fields.iter().any(|field| field.name == *key).then_some(())?;
            Some(vec![(*kind).to_owned(), owner_name(table.get(*kind), owner)?, (*key).to_owned()])
        }
        ["retention", "projects", owner, key] => {
            retention::project_fields().iter().any(|field| field.name == *key).then_some(())?;
            let known = table.get("retention").and_then(|retention| retention.get("projects"));
            let owner = owner_name(known, owner)?;
            Some(vec!["retention".to_owned(), "projects".to_owned(), owner, (*key).to_owned()])
        }
        [section, key] => {
            let known = section_fields().into_iter().any(|(name, field)| name == *section && field.name == *key);
            known.then(|| vec![(*section).to_owned(), (*key).to_owned()])
        }
        _ => None,
    }
}

/// The account, model or project of the file that a variable means, though variables know no `-` and no capitals; else a
/// new one. `known` is the table of them.
fn owner_name(known: Option<&Value>, owner: &str) -> Option<String> {
    let plain = |name: &str| -> String {
        name.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' }).collect()
    };
    let known = known.and_then(Value::as_table);
    let found = known.and_then(|known| known.keys().find(|name| plain(name) == plain(owner)));
    found.cloned().or_else(|| (!owner.is_empty()).then(|| owner.to_owned()))
}

fn unknown(name: &str) -> ConfigError {
    let mut known: Vec<String> = PLAIN.iter().map(|(plain, _)| (*plain).to_owned()).collect();
    known.extend(OTHERS.iter().map(|other| (*other).to_owned()));
    known.extend(
        section_fields()
            .into_iter()
            .filter(|(section, _)| !section.is_empty())
            .map(|(section, field)| format!("{PREFIX}{}__{}", section.to_uppercase(), field.name.to_uppercase())),
    );
    // Names of accounts are the operator's: compare what comes behind them.
    let parts: Vec<&str> = name.split("__").collect();
    if let [kind @ ("LONGTAKE_ACCOUNTS" | "LONGTAKE_MODELS"), owner, ..] = parts.as_slice() {
        let fields = if *kind == "LONGTAKE_ACCOUNTS" { accounts::account_fields() } else { accounts::model_fields() };
        known.extend(fields.iter().map(|field| format!("{kind}__{owner}__{}", field.name.to_uppercase())));
    }
    if let ["LONGTAKE_RETENTION", "PROJECTS", owner, ..] = parts.as_slice() {
        let keys = retention::project_fields().into_iter().map(|field| field.name.to_uppercase());
        known.extend(keys.map(|key| format!("LONGTAKE_RETENTION__PROJECTS__{owner}__{key}")));
    }
    let hint = match nearest(name, known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean {near}?"),
        None => "see docs/configuration.md, or unset it".to_owned(),
    };
    ConfigError::new(format!("{name}: there is no such setting; {hint}"))
}
