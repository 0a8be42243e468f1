//! `longtake generate`: one video, from prompt to file.

use std::path::{Path, PathBuf};

use clap::Args;
use longtake_core::artifact::Digest;
use longtake_core::id::Random;
use serde_json::{Map, Value};

use super::client::{Request, Upload};
use super::download::{self, Variant, download};
use super::file::Target;
use super::interrupt::Interrupt;
use super::link::Link;
use super::output::{self, member};
use super::progress::Progress;
use super::watch::{failure_of, watch};
use super::{CliError, Global};
use crate::clock::OsRandom;

/// Largest input image that is read, in bytes; the server has its own limit.
const MAX_INPUT_BYTES: u64 = 512 << 20;

/// Create one video, show its progress and save it
///
/// Uses a server if there is one (--server, the one that has the data directory, or the one on the default address),
/// else runs the whole system in this process for as long as it takes. Ctrl-C leaves the video to go on, and says how to
/// pick it up.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  longtake generate \"a lighthouse in a storm\"\n  longtake generate \"a paper boat\" --seconds 8 --size 1280x720 -o boat.mp4\n  longtake generate \"make it move\" --input-reference photo.png --json\n  longtake generate \"a comet\" --max-cost-usd 0.50\n  longtake generate \"[sandbox fail=content_policy] see how a failure looks\""
)]
pub(crate) struct Arguments {
    /// What the video shall show
    prompt: String,
    /// Which model [default: the first configured one, else sandbox]
    #[arg(long)]
    model: Option<String>,
    /// Length in seconds [default: the model's]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: Option<u32>,
    /// Size in pixels, such as 1280x720 [default: the model's]
    #[arg(long, value_name = "WxH", value_parser = size)]
    size: Option<String>,
    /// The most that all attempts together may cost, in dollars; refused before anything is paid [default: no limit]
    #[arg(long, value_name = "USD", value_parser = dollars)]
    max_cost_usd: Option<String>,
    /// A picture to start from: PNG, JPEG or WebP
    #[arg(long, value_name = "FILE")]
    input_reference: Option<PathBuf>,
    /// Where to save the video; an existing file is replaced [default: ID.mp4, which never replaces one]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print events as JSON, one a line, and the result last
    #[arg(long)]
    json: bool,
}

fn size(text: &str) -> Result<String, String> {
    let size: Result<longtake_core::request::Size, _> = text.parse();
    size.map(|size| size.to_string()).map_err(|error| error.to_string())
}

/// The server reads it again; here only what is no amount at all is a usage error.
fn dollars(text: &str) -> Result<String, String> {
    let digits = text.bytes().filter(|byte| *byte != b'.').all(|byte| byte.is_ascii_digit());
    match text.parse::<f64>() {
        Ok(amount) if amount > 0.0 && digits => Ok(text.to_owned()),
        _ => Err("must be a number of dollars above 0, such as 0.50".to_owned()),
    }
}

pub(crate) async fn run(global: Global, arguments: Arguments) -> Result<(), CliError> {
    let interrupt = Interrupt::listen()?;
    let config = global.load()?;
    let request = request(&arguments)?;
    // Before anything is paid: is there a place for the result?
    let target = Target::prepare(arguments.output.as_deref())?;
    let mut link = tokio::select! {
        link = Link::find(config) => link?,
        () = interrupt.asked() => return Err(CliError::Silent(interrupt.code())),
    };
    let mut progress = Progress::new(arguments.json);
    let mut id = String::new();
    let outcome = tokio::select! {
        outcome = make(&mut link, &request, &mut id, &mut progress, target, arguments.json) => Some(outcome),
        () = interrupt.asked() => None,
    };
    progress.end();
    let outcome = outcome.unwrap_or_else(|| {
        output::complain(&pick_up(&global, &id, link.is_ours()));
        Err(CliError::Silent(interrupt.code()))
    });
    link.close().await;
    outcome
}

async fn make(
    link: &mut Link,
    request: &Request,
    id: &mut String,
    progress: &mut Progress,
    target: Target,
    json: bool,
) -> Result<(), CliError> {
    let video = link.send(request).await?;
    *id = member(&video, "id");
    let video = watch(link, id, progress).await?;
    progress.end();
    if let Some(failure) = failure_of(&video) {
        if json {
            output::line(&failed(&video).to_string());
        }
        return Err(CliError::Failed(failure));
    }
    let saved = download(link, &video, Variant::Video, target).await.map_err(|error| match error {
        CliError::Failed(message) => CliError::Failed(format!("{message}: longtake videos download {id}")),
        other => other,
    })?;
    output::line(&if json { download::result(&video, &saved).to_string() } else { download::sentence(&saved) });
    Ok(())
}

/// What programs are told of a video that ended badly.
fn failed(video: &Value) -> Value {
    serde_json::json!({
        "object": "result",
        "id": video.get("id"),
        "status": video.get("status"),
        "state": video.get("state"),
        "error": video.get("error"),
    })
}

fn request(arguments: &Arguments) -> Result<Request, CliError> {
    let mut body = Map::new();
    body.insert("prompt".to_owned(), arguments.prompt.clone().into());
    let seconds = arguments.seconds.map(|seconds| seconds.to_string());
    for (name, value) in [
        ("model", &arguments.model),
        ("seconds", &seconds),
        ("size", &arguments.size),
        ("max_cost_usd", &arguments.max_cost_usd),
    ] {
        if let Some(value) = value {
            body.insert(name.to_owned(), value.clone().into());
        }
    }
    let mut key = [0; 32];
    OsRandom.fill(&mut key);
    let upload = arguments.input_reference.as_deref().map(upload).transpose()?;
    // With a key of its own it may be repeated until an answer arrives: it makes one video.
    let idempotency_key = Some(format!("cli-{}", Digest(key)));
    Ok(Request { upload, idempotency_key, is_repeatable: true, ..Request::post("/v1/videos", body) })
}

fn upload(path: &Path) -> Result<Upload, CliError> {
    let wrong = |problem: String| CliError::Failed(format!("--input-reference: {}: {problem}", path.display()));
    let metadata = std::fs::metadata(path).map_err(|error| wrong(format!("{error}; name a picture that exists")))?;
    if !metadata.is_file() || metadata.len() > MAX_INPUT_BYTES {
        return Err(wrong(format!("is no file of at most {MAX_INPUT_BYTES} bytes; name a picture")));
    }
    let bytes = std::fs::read(path).map_err(|error| wrong(format!("{error}; check its mode")))?;
    let name = path.file_name().map_or_else(|| "input".to_owned(), |name| name.to_string_lossy().into_owned());
    Ok(Upload { field: "input_reference", name, bytes: bytes.into() })
}

/// How to go on after Ctrl-C.
fn pick_up(global: &Global, id: &str, is_ours: bool) -> String {
    let flags = global.repeated();
    if id.is_empty() {
        return format!(
            "interrupted before the server answered; if the video was accepted, longtake{flags} videos list shows it"
        );
    }
    let goes_on = if is_ours { "goes on when longtake runs again" } else { "goes on at the server" };
    format!(
        "interrupted; {id} {goes_on}\n  to watch it:  longtake{flags} videos watch {id}\n  to save it:   longtake{flags} videos download {id}\n  to cancel it: longtake{flags} videos cancel {id}"
    )
}
