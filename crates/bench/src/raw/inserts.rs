//! Durable single-row inserts over HTTP: axum in front of one writer thread with group commit.
//!
//! What the disk and the framework give at most: one row, no index but the key, no events, no keys, no checks.
//! With `--off` the same without durability.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Json, Router};
use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};

use crate::Outcome;

/// Most rows of one commit, as in the gateway's store.
const MAX_BATCH: usize = 512;
/// Most rows waiting.
const MAX_QUEUE: usize = 4_096;

#[derive(clap::Args)]
pub struct Options {
    #[arg(long)]
    listen: SocketAddr,
    /// Database file, which must not exist
    #[arg(long)]
    database: PathBuf,
    /// No syncs at all
    #[arg(long)]
    off: bool,
}

#[derive(Deserialize, Serialize)]
struct Create {
    prompt: String,
    model: String,
    seconds: String,
    size: String,
}

#[derive(Serialize)]
struct Created {
    id: i64,
    prompt: String,
}

struct Row {
    create: Create,
    answer: oneshot::Sender<i64>,
}

pub async fn run(options: Options) -> Outcome {
    let failed = |error: rusqlite::Error| format!("{}: {error}", options.database.display());
    let connection = open(&options.database, options.off).map_err(failed)?;
    let (queue, rows) = mpsc::channel(MAX_QUEUE);
    // Its end, by an error, closes the queue: then every insert is answered with 500.
    std::thread::spawn(move || {
        if let Err(error) = write_forever(&connection, rows) {
            eprintln!("error: the writer ended: {error}");
        }
    });
    let app = Router::new().route("/rows", post(insert)).route("/readyz", get(async || "ready")).with_state(queue);
    let listener = TcpListener::bind(options.listen).await.map_err(|error| format!("{}: {error}", options.listen))?;
    let listener = axum::serve::ListenerExt::tap_io(listener, |stream| {
        // Without it answers may wait for an acknowledgement; then they are only late.
        drop(stream.set_nodelay(true));
    });
    axum::serve(listener, app).await.map_err(|error| format!("serving ended: {error}"))
}

async fn insert(
    State(queue): State<mpsc::Sender<Row>>,
    Json(create): Json<Create>,
) -> Result<Json<Created>, StatusCode> {
    let (answer, durable) = oneshot::channel();
    let prompt = create.prompt.clone();
    queue.send(Row { create, answer }).await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    let id = durable.await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)?;
    Ok(Json(Created { id, prompt }))
}

fn open(path: &Path, off: bool) -> rusqlite::Result<Connection> {
    let connection = Connection::open(path)?;
    let synchronous = if off { "OFF" } else { "FULL" };
    connection.execute_batch(&format!(
        "PRAGMA journal_mode=WAL; PRAGMA synchronous={synchronous}; PRAGMA wal_autocheckpoint=10000;
         CREATE TABLE row (id INTEGER PRIMARY KEY, request TEXT NOT NULL) STRICT;"
    ))?;
    Ok(connection)
}

/// Takes everything queued, commits it at once, answers all.
fn write_forever(connection: &Connection, mut rows: mpsc::Receiver<Row>) -> rusqlite::Result<()> {
    let mut batch = Vec::with_capacity(MAX_BATCH);
    while let Some(first) = rows.blocking_recv() {
        batch.push(first);
        while batch.len() < MAX_BATCH
            && let Ok(row) = rows.try_recv()
        {
            batch.push(row);
        }
        let mut answers = Vec::with_capacity(batch.len());
        connection.execute_batch("BEGIN IMMEDIATE")?;
        {
            let mut insert = connection.prepare_cached("INSERT INTO row (request) VALUES (?1)")?;
            for row in batch.drain(..) {
                let request = serde_json::to_string(&row.create).unwrap_or_default();
                answers.push((insert.insert(params![request])?, row.answer));
            }
        }
        connection.execute_batch("COMMIT")?;
        for (id, answer) in answers {
            // A client that went away needs no answer.
            let _ = answer.send(id);
        }
    }
    Ok(())
}
