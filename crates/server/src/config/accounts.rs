//! `[accounts.X]` and `[models.X]`: who makes videos, and under which names.

use longtake_core::request::Size;
use toml::{Table, Value};

use super::ConfigError;
use super::layers::Layers;
use super::nearest::suggestion;
use super::read::{Reader, from_text, shown, shown_text};
use super::secret::Secret;
use super::sections::Field;

/// The built-in account and its model.
pub const SANDBOX: &str = "sandbox";

/// One credential at a provider.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountSettings {
    /// The X of `[accounts.X]`.
    pub name: String,
    /// Which provider.
    pub provider: String,
    /// Its credential.
    pub api_key: Option<Secret>,
    /// Instead of the provider's own address.
    pub base_url: Option<String>,
    /// Provider jobs at once, across all machines.
    pub max_in_flight: Option<u32>,
    /// Submissions per minute, across all machines.
    pub requests_per_minute: Option<u32>,
    /// First wait between polls, in milliseconds.
    pub poll_first_ms: Option<u64>,
    /// Longest wait between polls, in milliseconds.
    pub poll_ceiling_ms: Option<u64>,
    /// How a lost submission is found.
    pub lookup: Option<String>,
    /// Whether the provider recognises a repeated submission.
    pub idempotency: Option<String>,
    /// Wait before "not found" may prove anything, in milliseconds.
    pub absence_settle_ms: Option<u64>,
    /// Time for finding out about a lost answer, in milliseconds.
    pub verify_deadline_ms: Option<u64>,
    /// What only this provider understands.
    pub options: serde_json::Map<String, serde_json::Value>,
}

/// The keys of an account; the macro of plain sections cannot say "required".
pub fn account_fields() -> Vec<Field> {
    let field = |name, kind, range, docs| Field { name, docs, kind, default: None, range };
    vec![
        field("provider", "text in quotes", None, &[" Which provider; required."]),
        field(
            "api_key",
            "a secret: its text, env:NAME or file:PATH",
            None,
            &[" Its credential. `file:` paths start at the folder of this file."],
        ),
        field(
            "base_url",
            "a URL in quotes",
            None,
            &[" Instead of the provider's own address: simulators, regions, proxies."],
        ),
        field(
            "max_in_flight",
            "a whole number",
            Some((1, 1_000_000)),
            &[" Provider jobs at once, across all machines. Default: no limit."],
        ),
        field(
            "requests_per_minute",
            "a whole number",
            Some((1, MAX_PER_MINUTE)),
            &[" Submissions per minute, across all machines; a second's worth may go out at once. Default: no limit."],
        ),
        field(
            "poll_first_ms",
            "a whole number",
            Some((1, DAY_MS)),
            &[" First wait between polls, in milliseconds. Default: the provider's, far longer where it calls back."],
        ),
        field(
            "poll_ceiling_ms",
            "a whole number",
            Some((1, DAY_MS)),
            &[" Longest wait between polls, in milliseconds. Default: as for the first."],
        ),
        field(
            "lookup",
            "text in quotes",
            None,
            &[" How a lost submission is found: a word the provider knows, such as `list_by_prompt`, or `none`."],
        ),
        field(
            "idempotency",
            "text in quotes",
            None,
            &[" `key` where the server honours `Idempotency-Key`, else `none`."],
        ),
        field(
            "absence_settle_ms",
            "a whole number",
            Some((0, WEEK_MS)),
            &[" Wait before \"not found\" may prove anything, in milliseconds. Default: the provider's."],
        ),
        field(
            "verify_deadline_ms",
            "a whole number",
            Some((1, WEEK_MS)),
            &[
                " Time for finding out about a lost answer, in milliseconds; then the job is held. Default: the provider's.",
            ],
        ),
        field("options", "a table", None, &[" What only this provider understands: `[accounts.X.options]`."]),
    ]
}

/// Submissions per minute: more is a mistake.
const MAX_PER_MINUTE: u64 = 1_000_000;
const DAY_MS: u64 = 86_400_000;
const WEEK_MS: u64 = 7 * DAY_MS;

impl AccountSettings {
    /// Reads one table.
    pub fn read(layers: &Layers, name: &str, table: Table) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(layers, vec!["accounts".to_owned(), name.to_owned()], table);
        let provider: Option<String> = reader.take("provider", None, None)?;
        let known: Vec<&str> = longtake_providers::registry::names().collect();
        let Some(provider) = provider else {
            let message = format!("is missing; write one of {}", known.join(", "));
            return Err(reader.error("provider", &message));
        };
        if !known.contains(&provider.as_str()) {
            let message = format!("there is no provider {provider:?}{}", suggestion(&provider, &known));
            return Err(reader.error("provider", &message));
        }
        let account = Self {
            name: name.to_owned(),
            provider,
            api_key: reader.take("api_key", None, None)?,
            base_url: reader.take("base_url", None, None)?,
            max_in_flight: reader.take("max_in_flight", None, Some(1..=1_000_000))?,
            requests_per_minute: reader.take("requests_per_minute", None, Some(1..=MAX_PER_MINUTE))?,
            poll_first_ms: reader.take("poll_first_ms", None, Some(1..=DAY_MS))?,
            poll_ceiling_ms: reader.take("poll_ceiling_ms", None, Some(1..=DAY_MS))?,
            lookup: reader.take("lookup", None, None)?,
            idempotency: reader.take("idempotency", None, None)?,
            absence_settle_ms: reader.take("absence_settle_ms", None, Some(0..=WEEK_MS))?,
            verify_deadline_ms: reader.take("verify_deadline_ms", None, Some(1..=WEEK_MS))?,
            options: options(&mut reader)?,
        };
        if let Some(url) = &account.base_url {
            check_url(url).map_err(|problem| reader.error("base_url", &problem))?;
        }
        reader.finish(&account_fields().iter().map(|field| field.name).collect::<Vec<_>>())?;
        Ok(account)
    }
}

fn check_url(text: &str) -> Result<(), String> {
    let remedy = "write one such as https://api.example.com";
    let shown = shown_text(text);
    let url = reqwest::Url::parse(text).map_err(|error| format!("{shown} is not a URL: {error}; {remedy}"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("{shown} is no http or https URL; {remedy}"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(format!("credentials do not belong into a URL; use api_key, and {remedy}"));
    }
    Ok(())
}

fn options(reader: &mut Reader<'_>) -> Result<serde_json::Map<String, serde_json::Value>, ConfigError> {
    let value = match reader.take_raw("options") {
        None => return Ok(serde_json::Map::new()),
        Some(Value::String(text)) if reader.is_outside("options") => from_text(&text).unwrap_or(Value::String(text)),
        Some(value) => value,
    };
    match serde_json::to_value(&value) {
        Ok(serde_json::Value::Object(options)) => Ok(options),
        _ => Err(reader.error("options", &format!("must be a table, not {}", shown(&value)))),
    }
}

/// One public model.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelSettings {
    /// The X of `[models.X]`: what clients ask for.
    pub name: String,
    /// Account and provider's model, in order of fallback; at least one.
    pub routes: Vec<RouteSettings>,
    /// Lengths it accepts, in seconds; empty leaves it to the provider.
    pub seconds: Vec<u32>,
    /// Sizes it accepts; empty leaves it to the provider.
    pub sizes: Vec<Size>,
    /// Price of a second of video, in millionths of a dollar.
    pub price_usd_micros_per_second: Option<u64>,
}

/// One route of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSettings {
    /// The account's name.
    pub account: String,
    /// The provider's name for the model.
    pub model: String,
    /// Provider jobs of this model at once, across all machines.
    pub max_in_flight: Option<u32>,
    /// Submissions of this model per minute, across all machines.
    pub requests_per_minute: Option<u32>,
}

/// The keys of a model.
pub fn model_fields() -> Vec<Field> {
    let field = |name, kind, docs| Field { name, docs, kind, default: None, range: None };
    vec![
        field(
            "routes",
            "a list of { account = \"…\", model = \"…\" }",
            &[
                " Who serves it, in order of fallback; required. `model` is the provider's name for it. A route may have",
                " limits of its own, across all machines: `max_in_flight` and `requests_per_minute`.",
            ],
        ),
        field(
            "seconds",
            "a list of whole numbers such as [4, 8]",
            &[" Lengths it accepts, in seconds. Default: what the provider accepts."],
        ),
        field(
            "sizes",
            "a list of sizes such as [\"1280x720\"]",
            &[" Sizes it accepts. Default: what the provider accepts."],
        ),
        field(
            "price_usd_per_second",
            "a number",
            &[
                " What a second of video costs, in dollars, at every size. Default: what the provider is known to charge.",
            ],
        ),
    ]
}

/// Dearest second of video that is no mistake, in dollars.
const MAX_PRICE_USD: f64 = 10_000.0;
/// Most routes of one model.
const MAX_ROUTES: usize = 100;

impl ModelSettings {
    /// Reads one table; `accounts` are the names a route may give.
    pub fn read(layers: &Layers, name: &str, table: Table, accounts: &[&str]) -> Result<Self, ConfigError> {
        let mut reader = Reader::new(layers, vec!["models".to_owned(), name.to_owned()], table);
        let routes = routes(&mut reader, accounts)?;
        let seconds: Vec<u32> = reader.take("seconds", Vec::new(), None)?;
        if seconds.iter().any(|seconds| !(1..=3_600).contains(seconds)) {
            return Err(reader.error("seconds", "must be a list of whole numbers from 1 to 3600"));
        }
        let sizes = reader.take("sizes", Vec::new(), None)?;
        let price: Option<f64> = reader.take("price_usd_per_second", None, None)?;
        if price.is_some_and(|price| !(0.0..=MAX_PRICE_USD).contains(&price)) {
            return Err(reader.error("price_usd_per_second", "must be a number of dollars from 0 to 10000"));
        }
        reader.finish(&model_fields().iter().map(|field| field.name).collect::<Vec<_>>())?;
        let price_usd_micros_per_second = price.map(|price| (price * 1_000_000.0).round() as u64);
        Ok(Self { name: name.to_owned(), routes, seconds, sizes, price_usd_micros_per_second })
    }
}

/// What a route may say.
const ROUTE_KEYS: &[&str] = &["account", "model", "max_in_flight", "requests_per_minute"];

fn route_limit(reader: &Reader<'_>, route: Option<&Table>, key: &str) -> Result<Option<u32>, ConfigError> {
    let Some(value) = route.and_then(|route| route.get(key)) else { return Ok(None) };
    match value.as_integer().and_then(|number| u32::try_from(number).ok()) {
        Some(number) if (1..=MAX_PER_MINUTE).contains(&u64::from(number)) => Ok(Some(number)),
        _ => Err(reader.error("routes", &format!("{key} of a route must be a whole number, 1 to {MAX_PER_MINUTE}"))),
    }
}

fn routes(reader: &mut Reader<'_>, accounts: &[&str]) -> Result<Vec<RouteSettings>, ConfigError> {
    const FORM: &str = "routes = [{ account = \"NAME\", model = \"the provider's name for it\" }]";
    let raw = match reader.take_raw("routes") {
        Some(Value::String(text)) if reader.is_outside("routes") => from_text(&text).unwrap_or(Value::String(text)),
        Some(value) => value,
        None => return Err(reader.error("routes", &format!("is missing; write {FORM}"))),
    };
    let Value::Array(list) = &raw else {
        return Err(reader.error("routes", &format!("must be a list, not {}; write {FORM}", shown(&raw))));
    };
    if list.is_empty() || list.len() > MAX_ROUTES {
        return Err(reader.error("routes", &format!("must have 1 to {MAX_ROUTES} routes; write {FORM}")));
    }
    let mut routes = Vec::with_capacity(list.len());
    for value in list {
        let table = value.as_table();
        let text = |key| table.and_then(|table| table.get(key)).and_then(Value::as_str).filter(|text| !text.is_empty());
        let (Some(account), Some(model)) = (text("account"), text("model")) else {
            return Err(reader.error("routes", &format!("a route needs account and model; write {FORM}")));
        };
        let stranger = table.and_then(|table| table.keys().find(|key| !ROUTE_KEYS.contains(&key.as_str())));
        if let Some(stranger) = stranger {
            let hint = suggestion(stranger, ROUTE_KEYS);
            return Err(reader.error("routes", &format!("a route has no key {stranger:?}{hint}")));
        }
        if !accounts.contains(&account) {
            let hint = suggestion(account, accounts);
            return Err(reader.error("routes", &format!("there is no account {account:?}{hint}")));
        }
        routes.push(RouteSettings {
            account: account.to_owned(),
            model: model.to_owned(),
            max_in_flight: route_limit(reader, table, "max_in_flight")?,
            requests_per_minute: route_limit(reader, table, "requests_per_minute")?,
        });
    }
    Ok(routes)
}
