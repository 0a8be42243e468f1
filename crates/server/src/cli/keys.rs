//! `longtake keys`: API keys.

use clap::{Args, Subcommand};
use serde_json::{Map, Value};

use super::client::Request;
use super::link::Link;
use super::output::{self, member};
use super::{CliError, Global};

/// Make, list and revoke API keys
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longtake keys create my-app\n  longtake keys list\n  longtake keys revoke key_1")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a key; it is shown once
    #[command(
        after_help = "Examples:\n  longtake keys create my-app\n  longtake keys create dashboard --project films --scope read"
    )]
    Create {
        /// What people call it
        name: String,
        /// Whose videos it sees; made where it is new [default: default]
        #[arg(long)]
        project: Option<String>,
        /// What it may do; may be given several times [default: read and write]
        #[arg(long, value_name = "SCOPE", value_parser = ["read", "write", "admin"])]
        scope: Vec<String>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// List all keys, revoked ones too
    #[command(after_help = "Examples:\n  longtake keys list")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Revoke a key
    #[command(after_help = "Examples:\n  longtake keys revoke key_1")]
    Revoke {
        /// Its id, as `longtake keys list` shows it
        id: String,
    },
}

pub(crate) async fn run(global: Global, arguments: Arguments) -> Result<(), CliError> {
    let mut link = Link::find(global.load()?).await?;
    let outcome = act(&mut link, arguments.command).await;
    link.close().await;
    outcome
}

async fn act(link: &mut Link, command: Command) -> Result<(), CliError> {
    match command {
        Command::Create { name, project, scope, json } => {
            let mut body = Map::new();
            body.insert("name".to_owned(), name.into());
            if let Some(project) = project {
                body.insert("project".to_owned(), project.into());
            }
            if !scope.is_empty() {
                body.insert("scopes".to_owned(), scope.into());
            }
            let key = link.send(&Request::post("/v1/api_keys", body)).await?;
            if json {
                output::json(&key);
            } else {
                output::line(&member(&key, "key"));
                output::complain(&format!("made {}; it is not shown again", member(&key, "id")));
            }
        }
        Command::List { json } => {
            let keys = link.send(&Request::get("/v1/api_keys")).await?;
            if json {
                output::json(&keys);
            } else {
                table(&keys);
            }
        }
        Command::Revoke { id } => {
            link.send(&Request::delete(format!("/v1/api_keys/{}", super::videos::segment(&id)))).await?;
            output::line(&format!("revoked {id}"));
        }
    }
    Ok(())
}

fn table(keys: &Value) {
    let keys = keys.get("data").and_then(Value::as_array).cloned().unwrap_or_default();
    let time = |key: &Value, name: &str| key.get(name).and_then(Value::as_i64).map_or_else(String::new, output::time);
    let rows = keys.iter().map(|key| {
        vec![
            member(key, "id"),
            member(key, "name"),
            member(key, "project_id"),
            member(key, "scopes"),
            time(key, "created_at"),
            time(key, "revoked_at"),
        ]
    });
    output::table(&["ID", "NAME", "PROJECT", "SCOPES", "CREATED", "REVOKED"], &rows.collect::<Vec<_>>());
}
