//! `longtake models`: what can be asked for.

use clap::Args;
use serde_json::Value;

use super::client::Request;
use super::link::Link;
use super::output::{self, member};
use super::{CliError, Global};

/// List the models: what each accepts and costs
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longtake models\n  longtake models --json")]
pub(crate) struct Arguments {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(global: Global, arguments: Arguments) -> Result<(), CliError> {
    let mut link = Link::find(global.load()?).await?;
    let answer = link.send(&Request::get("/v1/models")).await;
    link.close().await;
    let answer = answer?;
    if arguments.json {
        output::json(&answer);
        return Ok(());
    }
    let models = answer.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
    let or_any = |text: String| if text.is_empty() { "any".to_owned() } else { text };
    let rows = models.iter().map(|model| {
        let is_default = model.get("default").and_then(Value::as_bool).unwrap_or(false);
        vec![
            format!("{}{}", member(model, "id"), if is_default { " (default)" } else { "" }),
            member(model, "providers"),
            or_any(spans(model.get("seconds"))),
            or_any(member(model, "sizes")),
            member(model, "input_image"),
            member(model, "price_usd_per_second"),
            member(model, "sunset"),
        ]
    });
    output::table(&["MODEL", "PROVIDERS", "SECONDS", "SIZES", "IMAGE", "USD/S", "UNTIL"], &rows.collect::<Vec<_>>());
    Ok(())
}

/// Whole numbers in order, neighbours as one span: `4 6-8`.
fn spans(numbers: Option<&Value>) -> String {
    let mut spans: Vec<(u64, u64)> = Vec::new();
    for number in numbers.and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_u64) {
        match spans.last_mut() {
            Some((_, last)) if *last + 1 == number => *last = number,
            _ => spans.push((number, number)),
        }
    }
    let shown = |(first, last): &(u64, u64)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    spans.iter().map(shown).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_one_span() {
        let numbers = serde_json::json!([4, 6, 7, 8, 12]);
        assert_eq!(spans(Some(&numbers)), "4 6-8 12");
        assert_eq!(spans(None), "");
    }
}
