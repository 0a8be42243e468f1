//! The HTTP edge: translate, one call inward, translate back.
//!
//! [`router::router`] ties paths to handlers and to the OpenAPI document; [`serve::serve`] runs them with timeouts and
//! caps on connections. Every error leaves in OpenAI's envelope (`error`), every response carries `x-request-id`.
//! Absent: rules about jobs (core), SQL (store), vendor names (providers).

pub mod api_keys;
pub mod auth;
pub mod body;
pub mod callbacks;
pub mod conduit;
pub mod error;
pub mod error_code;
pub mod events;
pub mod feed;
pub mod files;
pub mod health;
pub mod inputs;
pub mod limits;
pub mod metrics;
pub mod models;
pub mod network;
pub mod node;
pub mod observe;
pub mod openapi;
pub mod own_pages;
pub mod query;
pub mod router;
pub mod schemas;
pub mod serve;
pub mod signing;
pub mod stall;
pub mod videos;
pub mod webhook_endpoints;
pub mod websocket;
