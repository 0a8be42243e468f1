//! `longtake videos`: the operations of the API on videos.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::client::Request;
use super::download::{self, Variant, download};
use super::file::Target;
use super::interrupt::Interrupt;
use super::link::Link;
use super::output::{self, member};
use super::progress::Progress;
use super::watch::{failure_of, watch};
use super::{CliError, Global};

/// List, watch, fetch and steer videos
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  longtake videos list --status completed\n  longtake videos watch video_019a7c0de0b97d5e8a1b2c3d4e5f6a7b\n  longtake videos download video_019a7c0de0b97d5e8a1b2c3d4e5f6a7b -o film.mp4"
)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List videos, newest first
    #[command(
        after_help = "Examples:\n  longtake videos list\n  longtake videos list --status failed --limit 5 --json"
    )]
    List {
        /// Only these: queued, in_progress, completed or failed
        #[arg(long, value_parser = ["queued", "in_progress", "completed", "failed"])]
        status: Option<String>,
        /// Only videos of this model
        #[arg(long)]
        model: Option<String>,
        /// How many
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
        /// Begin behind this video
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Show one video
    #[command(after_help = "Examples:\n  longtake videos get video_019a7c0de0b97d5e8a1b2c3d4e5f6a7b")]
    Get(One),
    /// Follow a video to its end
    #[command(after_help = "Examples:\n  longtake videos watch video_019a7c0de0b97d5e8a1b2c3d4e5f6a7b")]
    Watch(One),
    /// Save the bytes of a completed video
    #[command(
        after_help = "Examples:\n  longtake videos download video_019a7c0de0b97d5e8a1b2c3d4e5f6a7b -o film.mp4\n  longtake videos download video_019a7c0de0b97d5e8a1b2c3d4e5f6a7b --variant thumbnail"
    )]
    Download {
        /// Which
        id: String,
        /// Where to save it; an existing file is replaced [default: ID.mp4, which never replaces one]
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// What of it
        #[arg(long, value_enum, default_value_t = Variant::Video)]
        variant: Variant,
        /// Print the result as JSON
        #[arg(long)]
        json: bool,
    },
    /// Cancel a video; what the provider cannot stop stays watched
    #[command(after_help = "Examples:\n  longtake videos cancel video_019a7c0de0b97d5e8a1b2c3d4e5f6a7b")]
    Cancel(One),
    /// Make a failed or canceled video after all, at the risk of paying again
    #[command(after_help = "Examples:\n  longtake videos retry video_019a7c0de0b97d5e8a1b2c3d4e5f6a7b")]
    Retry(One),
    /// Decide about a held video, whose submission nobody could find out about
    #[command(
        after_help = "Examples:\n  longtake videos resolve video_019a7c0de0b97d5e8a1b2c3d4e5f6a7b --adopt 281734\n  longtake videos resolve video_019a7c0de0b97d5e8a1b2c3d4e5f6a7b --resubmit"
    )]
    Resolve {
        /// Which
        id: String,
        #[command(flatten)]
        decision: Decision,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Delete a finished video and its bytes
    #[command(after_help = "Examples:\n  longtake videos delete video_019a7c0de0b97d5e8a1b2c3d4e5f6a7b")]
    Delete(One),
}

#[derive(Debug, Args)]
struct One {
    /// Which
    id: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Decision {
    /// The provider has it, under this name
    #[arg(long, value_name = "PROVIDER_JOB")]
    adopt: Option<String>,
    /// Submit it again; it may be paid twice
    #[arg(long)]
    resubmit: bool,
    /// Give it up
    #[arg(long)]
    fail: bool,
}

/// A text as one segment of a path or one value of a query.
pub(crate) fn segment(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

fn path(id: &str, rest: &str) -> String {
    format!("/v1/videos/{}{rest}", segment(id))
}

pub(crate) async fn run(global: Global, arguments: Arguments) -> Result<(), CliError> {
    let config = global.load()?;
    match arguments.command {
        Command::Watch(one) => follow(&global, config, &one).await,
        Command::Download { id, output, variant, json } => {
            let target = Target::prepare(output.as_deref())?;
            let mut link = Link::find(config).await?;
            let outcome = save(&mut link, &id, variant, target, json).await;
            link.close().await;
            outcome
        }
        command => {
            let mut link = Link::find(config).await?;
            let outcome = act(&mut link, command).await;
            link.close().await;
            outcome
        }
    }
}

async fn act(link: &mut Link, command: Command) -> Result<(), CliError> {
    let empty = Map::new;
    match command {
        Command::List { status, model, limit, after, json } => {
            let mut query = format!("/v1/videos?limit={limit}");
            for (name, value) in [("status", status), ("model", model), ("after", after)] {
                if let Some(value) = value {
                    query.push_str(&format!("&{name}={}", segment(&value)));
                }
            }
            let page = link.send(&Request::get(query)).await?;
            if json { output::json(&page) } else { list(&page) }
        }
        Command::Get(one) => show(&link.send(&Request::get(path(&one.id, ""))).await?, one.json),
        // Asking twice changes nothing more.
        Command::Cancel(one) => {
            let request = Request { is_repeatable: true, ..Request::post(path(&one.id, "/cancel"), empty()) };
            show(&link.send(&request).await?, one.json);
        }
        Command::Retry(one) => show(&link.send(&Request::post(path(&one.id, "/retry"), empty())).await?, one.json),
        Command::Resolve { id, decision, json } => {
            let mut body = empty();
            let word = match (&decision.adopt, decision.resubmit) {
                (Some(_), _) => "adopt",
                (None, true) => "resubmit",
                (None, false) => "fail",
            };
            body.insert("decision".to_owned(), word.into());
            if let Some(provider_job) = decision.adopt {
                body.insert("provider_job_id".to_owned(), provider_job.into());
            }
            show(&link.send(&Request::post(path(&id, "/resolve"), body)).await?, json);
        }
        Command::Delete(one) => {
            let answer = link.send(&Request::delete(path(&one.id, ""))).await?;
            if one.json { output::json(&answer) } else { output::line(&format!("deleted {}", one.id)) }
        }
        Command::Watch(_) | Command::Download { .. } => {}
    }
    Ok(())
}

async fn save(link: &mut Link, id: &str, variant: Variant, target: Target, json: bool) -> Result<(), CliError> {
    let video = link.send(&Request::get(path(id, ""))).await?;
    let saved = download(link, &video, variant, target).await?;
    let is_video = variant == Variant::Video;
    output::line(&match (json, is_video) {
        (true, _) => download::result(&video, &saved).to_string(),
        (false, true) => download::sentence(&saved),
        (false, false) => format!("saved {} ({} bytes)", saved.path.display(), saved.bytes),
    });
    Ok(())
}

async fn follow(global: &Global, config: crate::config::Config, one: &One) -> Result<(), CliError> {
    let interrupt = Interrupt::listen()?;
    let mut link = Link::find(config).await?;
    let mut progress = Progress::new(one.json);
    let id = segment(&one.id);
    let outcome = tokio::select! {
        outcome = watch(&mut link, &id, &mut progress) => Some(outcome),
        () = interrupt.asked() => None,
    };
    progress.end();
    let outcome = match outcome {
        Some(Ok(video)) => match failure_of(&video) {
            Some(failure) => Err(CliError::Failed(failure)),
            None => {
                if !one.json {
                    let (id, flags) = (&one.id, global.repeated());
                    output::line(&format!("{id} is completed; to save it: longtake{flags} videos download {id}"));
                }
                Ok(())
            }
        },
        Some(Err(error)) => Err(error),
        None => {
            let goes_on = if link.is_ours() { "goes on when longtake runs again" } else { "goes on at the server" };
            output::complain(&format!("interrupted; {} {goes_on}", one.id));
            Err(CliError::Silent(interrupt.code()))
        }
    };
    link.close().await;
    outcome
}

fn list(page: &Value) {
    let videos = page.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
    let rows = videos.iter().map(|video| {
        let created = video.get("created_at").and_then(Value::as_i64).map_or_else(String::new, output::time);
        let prompt: String =
            member(video, "prompt").chars().map(|c| if c.is_control() { ' ' } else { c }).take(PROMPT_CHARS).collect();
        let progress = format!("{} %", member(video, "progress"));
        vec![member(video, "id"), member(video, "state"), progress, member(video, "model"), created, prompt]
    });
    output::table(&["ID", "STATE", "PROGRESS", "MODEL", "CREATED (UTC)", "PROMPT"], &rows.collect::<Vec<_>>());
    if page.get("has_more").and_then(Value::as_bool).unwrap_or(false) {
        output::complain(&format!("there are more: longtake videos list --after {}", member(page, "last_id")));
    }
}

/// How much of a prompt a table shows, in characters.
const PROMPT_CHARS: usize = 40;

fn show(video: &Value, json: bool) {
    if json {
        output::json(video);
        return;
    }
    let Some(members) = video.as_object() else { return };
    for (name, value) in members.iter().filter(|(name, value)| !value.is_null() && name.as_str() != "object") {
        let text = match value {
            Value::Object(inner) if inner.is_empty() => continue,
            Value::Number(number) if name.ends_with("_at") => {
                number.as_i64().map_or_else(String::new, |at| format!("{} UTC", output::time(at)))
            }
            _ => member(video, name),
        };
        output::line(&format!("{name:<16} {text}"));
    }
}
