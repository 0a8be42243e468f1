//! `longtake openapi`: the API as a document.

use clap::Args;

use super::CliError;
use super::output;

/// Print the OpenAPI document
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  longtake openapi > openapi.json")]
pub(crate) struct Arguments {}

pub(crate) fn run(_: &Arguments) -> Result<(), CliError> {
    output::text(&crate::http::openapi::openapi_json());
    Ok(())
}
