//! Members that may come in more than one shape, for the OpenAPI document.

use serde::Serialize;
use utoipa::ToSchema;

/// A whole number, also as text.
#[derive(Serialize, ToSchema)]
#[schema(as = WholeNumber)]
#[serde(untagged)]
pub enum WholeNumberSchema {
    /// As a number.
    Number(i64),
    /// As text.
    #[schema(example = "4")]
    Text(String),
}

/// A number of dollars, also as a decimal in text.
#[derive(Serialize, ToSchema)]
#[schema(as = DollarAmount)]
#[serde(untagged)]
pub enum DollarAmountSchema {
    /// As a number.
    Number(f64),
    /// As text.
    #[schema(example = "0.50")]
    Text(String),
}

/// A picture to start from.
#[derive(Serialize, ToSchema)]
#[schema(as = InputReference)]
#[serde(untagged)]
pub enum InputReferenceSchema {
    /// `file_…`, the id of an upload; in a form also the picture itself, as a file part.
    Itself(String),
    /// An upload.
    Upload {
        /// `file_…`.
        file_id: String,
    },
    /// A picture elsewhere.
    Link {
        /// An http, https or data URL.
        image_url: String,
    },
}

/// Bytes of a file.
#[derive(ToSchema)]
#[schema(as = Bytes, value_type = String, format = Binary)]
#[expect(dead_code, reason = "read by the OpenAPI generator only")]
pub struct BytesSchema(Vec<u8>);
