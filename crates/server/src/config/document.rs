//! `docs/configuration.md` and `longtake.example.toml`, made from the settings themselves; tests compare the files.

use std::fmt::Write as _;

use super::accounts::{account_fields, model_fields};
use super::environment::plain;
use super::layers::shown_key;
use super::retention::project_fields;
use super::sections::{
    DatabaseConfig, Field, General, InputsConfig, LimitsConfig, LogConfig, RetentionConfig, RetryConfig, SandboxConfig,
    Section, ServerConfig, StorageConfig, WebhooksConfig, WorkerConfig,
};

/// One section as the documents need it.
type Part = (&'static str, &'static [&'static str], Vec<Field>);

fn parts() -> [Part; 12] {
    fn part<S: Section>() -> Part {
        (S::NAME, S::DOCS, S::fields())
    }
    [
        part::<General>(),
        part::<DatabaseConfig>(),
        part::<StorageConfig>(),
        part::<ServerConfig>(),
        part::<WorkerConfig>(),
        part::<RetryConfig>(),
        part::<SandboxConfig>(),
        part::<LimitsConfig>(),
        part::<RetentionConfig>(),
        part::<InputsConfig>(),
        part::<WebhooksConfig>(),
        part::<LogConfig>(),
    ]
}

fn sentence(docs: &[&str]) -> String {
    docs.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ")
}

const ACCOUNT_EXAMPLE: &str = r#"[accounts.our-gpus]
provider = "openai_compatible"
api_key = "file:gpu.key"
base_url = "http://127.0.0.1:9700/v1"
max_in_flight = 30
"#;

const MODEL_EXAMPLE: &str = r#"[models.wan-local]
routes = [{ account = "our-gpus", model = "wan-2.2" }]
seconds = [4, 8]
sizes = ["1280x720", "720x1280"]
price_usd_per_second = 0.1
"#;

const PROJECT_EXAMPLE: &str = r#"[retention.projects.trailers]
artifacts = "7d"
"#;

/// `docs/configuration.md`.
pub fn reference() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         <!-- Made from crates/server/src/config/sections.rs; a test compares. Write it anew: LONGTAKE_TEST_WRITE=1 cargo test -p longtake config -->\n\n\
         Read in this order, the later on top: `longtake.toml` (`./longtake.toml` if it exists, or `--config FILE`), `LONGTAKE_*`\n\
         variables, flags. Unknown keys are errors that name the nearest known one. A variable is the section and the key, joined by\n\
         two underscores: `LONGTAKE_WORKER__CONCURRENCY=64`. Accounts, models and projects go by their name:\n\
         `LONGTAKE_ACCOUNTS__OUR_GPUS__API_KEY` sets `api_key` of `[accounts.our-gpus]`. Lists are written as in the file. Secrets may be `env:NAME` or `file:PATH`.\n\n\
         ## Plain variables\n\n| Variable | Sets |\n|---|---|\n",
    );
    for (name, path) in plain() {
        let _ = writeln!(text, "| `{name}` | `{}` |", shown_key(path));
    }
    text.push_str(
        "| `LONGTAKE_CONFIG` | the file, as `--config` |\n\
         | `LONGTAKE_URL` | the server that commands talk to, as `--server` |\n\
         | `LONGTAKE_API_KEY` | the key that commands use; else the admin key |\n",
    );
    for (name, docs, fields) in parts() {
        let title = if name.is_empty() { "Before any section".to_owned() } else { format!("`[{name}]`") };
        let _ = write!(text, "\n## {title}\n\n{}\n\n", sentence(docs));
        table(&mut text, &fields);
    }
    let _ = write!(
        text,
        "\n## `[retention.projects.NAME]`\n\nWhat one project keeps otherwise; NAME is its name, as its API keys have it. What it does not say is as in `[retention]`.\n\n```toml\n{PROJECT_EXAMPLE}```\n\n"
    );
    table(&mut text, &project_fields());
    let _ = write!(
        text,
        "\n## `[accounts.X]`\n\nOne credential at a provider; X is its name.\n\n```toml\n{ACCOUNT_EXAMPLE}```\n\n"
    );
    table(&mut text, &account_fields());
    let _ = write!(
        text,
        "\n## `[models.X]`\n\nOne model that clients may ask for; X is its name. The first one is taken where a request names no model, else `sandbox`.\n\n```toml\n{MODEL_EXAMPLE}```\n\n"
    );
    table(&mut text, &model_fields());
    text
}

fn table(text: &mut String, fields: &[Field]) {
    text.push_str("| Key | Default | Takes | Means |\n|---|---|---|---|\n");
    for field in fields {
        let default = field.default.as_ref().map_or_else(|| "-".to_owned(), |default| format!("`{default}`"));
        let range = field.range.map_or_else(String::new, |(least, most)| format!(", {least} to {most}"));
        let _ = writeln!(text, "| `{}` | {default} | {}{range} | {} |", field.name, field.kind, sentence(field.docs));
    }
}

/// `longtake.example.toml`: every setting with its default; what has none is commented out.
pub fn example() -> String {
    let mut text = String::from(
        "# Every setting of Longtake with its default. Copy what you change to longtake.toml.\n\
         # A line that is commented out shows a setting without a default of its own. Reference: docs/configuration.md.\n",
    );
    for (name, docs, fields) in parts() {
        let _ = write!(text, "\n# {}\n", sentence(docs));
        if !name.is_empty() {
            let _ = writeln!(text, "[{name}]");
        }
        for field in fields {
            for line in field.docs {
                let _ = writeln!(text, "# {}", line.trim());
            }
            let _ = match &field.default {
                Some(default) => writeln!(text, "{} = {default}", field.name),
                None => writeln!(text, "# {} = {}", field.name, placeholder(field.name)),
            };
        }
    }
    text.push_str("\n# What one project keeps otherwise.\n");
    comment(&mut text, PROJECT_EXAMPLE);
    text.push_str("\n# One credential at a provider.\n");
    comment(&mut text, ACCOUNT_EXAMPLE);
    text.push_str("\n# One model that clients may ask for; the first one is taken where a request names none.\n");
    comment(&mut text, MODEL_EXAMPLE);
    text
}

fn comment(text: &mut String, lines: &str) {
    for line in lines.lines() {
        let _ = writeln!(text, "# {line}");
    }
}

/// What a setting without a default could be.
fn placeholder(name: &str) -> &'static str {
    match name {
        "public_url" => "\"https://video.example.com\"",
        "endpoint" => "\"https://s3.example.com\"",
        "region" => "\"eu-central-1\"",
        "server_side_encryption" => "\"aws:kms\"",
        "kms_key_id" => "\"alias/videos\"",
        "public_base_url" => "\"https://cdn.example.com/videos\"",
        "url" => "\"sqlite:./longtake-data/longtake.db\"",
        "artifacts" => "\"s3://our-videos/production\"",
        "requests_per_minute" => "600",
        "level" => "\"info\"",
        _ => "\"env:NAME\"",
    }
}
