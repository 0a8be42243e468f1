//! Conduit's two dialects: a client of that gateway moves here by changing one address.
//!
//! `door` stands before everything and says by the path which dialect is spoken; it translates our errors too. The handlers
//! translate members and call what `/v1/videos` calls: a task is a job, and `task_` with the hex digits of the job's id is
//! its name, so nothing is kept about it. docs/conduit.md says what differs from Conduit. Absent: rules about jobs.

pub mod create;
pub mod dialect;
pub mod discovery;
pub mod document;
pub mod door;
pub mod downloads;
pub mod ephemeral;
pub mod errors;
pub mod events;
pub mod keys;
pub mod media;
pub mod result;
pub mod retry_cancel;
pub mod status;
pub mod task;
pub mod tasks;
pub mod webhook;
pub mod wish;

use utoipa::openapi::path::Operation;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::http::openapi::operations_of;
use dialect::Dialect;

/// The routes of one dialect, below its prefix.
pub fn routes(dialect: Dialect) -> OpenApiRouter<App> {
    let mut router = OpenApiRouter::new()
        .routes(routes!(create::create))
        .routes(routes!(retry_cancel::cancel))
        .routes(routes!(status::status))
        .routes(routes!(retry_cancel::retry))
        .routes(routes!(events::events))
        .routes(routes!(tasks::get))
        .routes(routes!(tasks::cancel))
        .routes(routes!(tasks::poll))
        .routes(routes!(media::info))
        .routes(routes!(media::media, media::preflight))
        .routes(routes!(downloads::link))
        .routes(routes!(downloads::metadata))
        .routes(routes!(downloads::download))
        .routes(routes!(discovery::models))
        .routes(routes!(discovery::parameters))
        .routes(routes!(discovery::capabilities))
        .routes(routes!(ephemeral::make));
    // Both dialects have the same operations, and names of operations are unique.
    let items = router.get_openapi_mut().paths.paths.values_mut();
    items.flat_map(operations_of).for_each(|operation| name(operation, dialect));
    router
}

fn name(operation: &mut Operation, dialect: Dialect) {
    let which = match dialect {
        Dialect::A => "conduit_a",
        Dialect::B => "conduit_b",
    };
    operation.operation_id = operation.operation_id.take().map(|id| format!("{which}_{id}"));
}
