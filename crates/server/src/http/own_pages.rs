//! A server without keys: who may act there. It listens on this machine alone, but so does a browser on it, and pages of
//! other sites can send requests from there: told by their `Origin`, or, where a name of theirs was made to lead here (DNS
//! rebinding), by the `Host` they came by.
//!
//! With keys, a page can do nothing that its visitor gave it no key for, wherever it comes from.

use std::net::{Ipv4Addr, Ipv6Addr};

use http::HeaderMap;
use http::header::{HOST, ORIGIN};

use super::error::{ApiError, ErrorCode};
use crate::app::App;

/// Only the server's own pages, and what is no page.
///
/// # Errors
/// `origin_refused`.
pub fn check(app: &App, headers: &HeaderMap) -> Result<(), ApiError> {
    let refused = |message: &str| Err(ApiError::new(ErrorCode::OriginRefused, message));
    let host = headers.get(HOST).map(|host| host.to_str().unwrap_or_default());
    let public = app.public_url.as_deref().and_then(authority);
    let known = |host: &str| is_of_this_machine(host) || public.is_some_and(|public| public.eq_ignore_ascii_case(host));
    if host.is_some_and(|host| !known(host)) {
        return refused(
            "a server without keys answers to localhost, IP addresses and public_url; ask it by one of these, or use keys",
        );
    }
    let Some(origin) = headers.get(ORIGIN) else { return Ok(()) };
    let of = origin.to_str().ok().and_then(authority);
    if of.is_some() && (of == host || of == public) {
        return Ok(());
    }
    refused("a server without keys lets no page of another site in; serve the page from this address, or use keys")
}

/// Host and port of a URL.
fn authority(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    rest.split(['/', '?', '#']).next()
}

/// No name that somebody else could lead here.
fn is_of_this_machine(host: &str) -> bool {
    let ipv6 = host.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    if let Some((address, _)) = ipv6 {
        return address.parse::<Ipv6Addr>().is_ok();
    }
    let name = host.split_once(':').map_or(host, |(name, _)| name);
    let name = name.to_ascii_lowercase();
    name.parse::<Ipv4Addr>().is_ok() || name == "localhost" || name.ends_with(".localhost")
}
