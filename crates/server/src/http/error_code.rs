//! The closed list of error codes of the API. Each has a page in docs/errors/; a test compares.

use http::StatusCode;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $status:ident;)+) => {
        /// The stable `code` of an error.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $name,)+ }

        impl ErrorCode {
            /// Every code.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The word on the wire.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $word,)+ }
            }

            /// The status of the response.
            pub const fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)+ }
            }
        }
    };
}

codes! {
    /// The body is not JSON.
    InvalidJson = "invalid_json", BAD_REQUEST;
    /// The body is not multipart form data.
    InvalidMultipart = "invalid_multipart", BAD_REQUEST;
    /// The query string cannot be decoded.
    InvalidQuery = "invalid_query", BAD_REQUEST;
    /// A header cannot be understood.
    InvalidHeader = "invalid_header", BAD_REQUEST;
    /// The body is no call of the provider.
    CallbackRefused = "callback_refused", BAD_REQUEST;
    /// A required member is absent.
    MissingParameter = "missing_parameter", BAD_REQUEST;
    /// A member has the wrong type.
    InvalidType = "invalid_type", BAD_REQUEST;
    /// A member has a value that is never accepted.
    InvalidValue = "invalid_value", BAD_REQUEST;
    /// A member nobody knows.
    UnknownParameter = "unknown_parameter", BAD_REQUEST;
    /// A member given twice.
    RepeatedParameter = "repeated_parameter", BAD_REQUEST;
    /// A member that this server does not serve.
    UnsupportedParameter = "unsupported_parameter", BAD_REQUEST;
    /// Something the model cannot do.
    UnsupportedByModel = "unsupported_by_model", BAD_REQUEST;
    /// A create for a model that is not on offer.
    UnknownModel = "unknown_model", BAD_REQUEST;
    /// A create names a file that is not kept.
    UnknownFile = "unknown_file", BAD_REQUEST;
    /// It would cost more than the client allows.
    MaxCostExceeded = "max_cost_exceeded", BAD_REQUEST;
    /// The prompt is blank.
    PromptBlank = "prompt_blank", BAD_REQUEST;
    /// The prompt has more than 32,000 characters.
    PromptTooLong = "prompt_too_long", BAD_REQUEST;
    /// The prompt holds a NUL.
    PromptHasNul = "prompt_has_nul", BAD_REQUEST;
    /// More than 16 pairs.
    MetadataTooMany = "metadata_too_many", BAD_REQUEST;
    /// A key is empty or has more than 64 characters.
    MetadataKeyInvalid = "metadata_key_invalid", BAD_REQUEST;
    /// A value has more than 512 characters.
    MetadataValueTooLong = "metadata_value_too_long", BAD_REQUEST;
    /// The input is no PNG, JPEG or WebP.
    InputImageInvalid = "input_image_invalid", BAD_REQUEST;
    /// The input image is too large.
    InputImageTooLarge = "input_image_too_large", BAD_REQUEST;
    /// The address of the input image is not one this server may connect to.
    InputUrlRefused = "input_url_refused", BAD_REQUEST;
    /// The input image could not be fetched.
    InputUrlUnreachable = "input_url_unreachable", BAD_REQUEST;
    /// The address of a webhook is not one this server may send to.
    WebhookUrlRefused = "webhook_url_refused", BAD_REQUEST;
    /// `limit` is not 1 to 100.
    InvalidLimit = "invalid_limit", BAD_REQUEST;
    /// `after` names nothing.
    InvalidAfter = "invalid_after", BAD_REQUEST;
    /// Not a cursor of the feed, or another server's.
    InvalidCursor = "invalid_cursor", BAD_REQUEST;
    /// No key, or not a valid one.
    InvalidApiKey = "invalid_api_key", UNAUTHORIZED;
    /// The key may not do this.
    InsufficientScope = "insufficient_scope", FORBIDDEN;
    /// A page of another site asks a server without keys.
    OriginRefused = "origin_refused", FORBIDDEN;
    /// The link is not one of this server's.
    InvalidLink = "invalid_link", FORBIDDEN;
    /// The link has ended.
    LinkExpired = "link_expired", FORBIDDEN;
    /// No such route.
    NotFound = "not_found", NOT_FOUND;
    /// No such video in this project.
    VideoNotFound = "video_not_found", NOT_FOUND;
    /// No such model.
    ModelNotFound = "model_not_found", NOT_FOUND;
    /// No such file in this project.
    FileNotFound = "file_not_found", NOT_FOUND;
    /// No such API key.
    ApiKeyNotFound = "api_key_not_found", NOT_FOUND;
    /// No such webhook endpoint in this project.
    WebhookEndpointNotFound = "webhook_endpoint_not_found", NOT_FOUND;
    /// No such delivery of the endpoint.
    WebhookDeliveryNotFound = "webhook_delivery_not_found", NOT_FOUND;
    /// The video has no picture of this kind.
    VariantUnavailable = "variant_unavailable", NOT_FOUND;
    /// The route knows other methods.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED;
    /// The body came too slowly.
    RequestTimeout = "request_timeout", REQUEST_TIMEOUT;
    /// The key was used for other fields.
    IdempotencyKeyReused = "idempotency_key_reused", CONFLICT;
    /// There are no bytes to serve (yet).
    VideoNotReady = "video_not_ready", CONFLICT;
    /// Only finished videos are deleted.
    VideoNotFinished = "video_not_finished", CONFLICT;
    /// Only failed and canceled videos are retried.
    VideoNotFailed = "video_not_failed", CONFLICT;
    /// Only held videos are resolved.
    VideoNotHeld = "video_not_held", CONFLICT;
    /// The project has as many webhook endpoints as it can have.
    WebhookEndpointLimit = "webhook_endpoint_limit", CONFLICT;
    /// The webhook endpoint is told nothing.
    WebhookEndpointDisabled = "webhook_endpoint_disabled", CONFLICT;
    /// The bytes were removed, as the operator's policy says.
    ContentExpired = "content_expired", GONE;
    /// Events behind the cursor were removed, as the operator's policy says.
    CursorExpired = "cursor_expired", GONE;
    /// `If-Match` names other bytes.
    PreconditionFailed = "precondition_failed", PRECONDITION_FAILED;
    /// The body is too large.
    BodyTooLarge = "body_too_large", PAYLOAD_TOO_LARGE;
    /// The address is too long.
    UriTooLong = "uri_too_long", URI_TOO_LONG;
    /// The body is of a type this route does not read.
    UnsupportedMediaType = "unsupported_media_type", UNSUPPORTED_MEDIA_TYPE;
    /// The range lies outside the bytes.
    RangeNotSatisfiable = "range_not_satisfiable", RANGE_NOT_SATISFIABLE;
    /// The route speaks WebSocket only.
    UpgradeRequired = "upgrade_required", UPGRADE_REQUIRED;
    /// Too many requests with this key.
    RateLimitExceeded = "rate_limit_exceeded", TOO_MANY_REQUESTS;
    /// Too many or too large headers.
    HeadersTooLarge = "headers_too_large", REQUEST_HEADER_FIELDS_TOO_LARGE;
    /// A defect of this server.
    InternalError = "internal_error", INTERNAL_SERVER_ERROR;
    /// Too much at once.
    Overloaded = "overloaded", SERVICE_UNAVAILABLE;
    /// The database did not answer.
    StoreUnavailable = "store_unavailable", SERVICE_UNAVAILABLE;
    /// The server is about to stop.
    ShuttingDown = "shutting_down", SERVICE_UNAVAILABLE;
    /// No room for more videos.
    StorageFull = "storage_full", INSUFFICIENT_STORAGE;
}

impl ErrorCode {
    /// The `type` of OpenAI's envelope.
    pub fn kind(self) -> &'static str {
        match self.status() {
            StatusCode::UNAUTHORIZED => "authentication_error",
            StatusCode::FORBIDDEN => "permission_error",
            StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
            status if status.is_server_error() => "server_error",
            _ => "invalid_request_error",
        }
    }

    /// Seconds a client should wait before it asks again; `None` where asking again does not help.
    pub const fn retry_after_secs(self) -> Option<u64> {
        match self {
            Self::RateLimitExceeded | Self::Overloaded | Self::StoreUnavailable => Some(1),
            Self::ShuttingDown => Some(5),
            Self::StorageFull => Some(60),
            _ => None,
        }
    }

    /// Whether the SDKs, which repeat 408, 409, 429 and every 5xx by themselves, should do so.
    pub const fn should_retry(self) -> bool {
        matches!(
            self,
            Self::RateLimitExceeded
                | Self::Overloaded
                | Self::StoreUnavailable
                | Self::ShuttingDown
                | Self::RequestTimeout
        )
    }
}

#[cfg(test)]
mod tests {
    use longtake_core::failure::FailureCode;

    use super::*;

    #[test]
    fn every_public_code_has_its_page_and_every_page_its_code() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors");
        let mut pages: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "README.md")
            .collect();
        let mut codes: Vec<String> = ErrorCode::ALL
            .iter()
            .map(|code| code.code())
            .chain(FailureCode::ALL.iter().map(|code| code.code()))
            .map(|code| format!("{code}.md"))
            .collect();
        pages.sort();
        codes.sort();
        assert_eq!(pages, codes);
        for code in ErrorCode::ALL {
            let text = std::fs::read_to_string(format!("{folder}/{}.md", code.code())).unwrap();
            assert!(text.contains(&format!("HTTP {}", code.status().as_u16())), "{}: {text}", code.code());
        }
    }

    #[test]
    fn what_may_be_repeated_says_when() {
        for code in ErrorCode::ALL {
            let status = code.status().as_u16();
            if [429, 503, 507].contains(&status) {
                assert!(code.retry_after_secs().is_some(), "{}", code.code());
            }
        }
    }
}
