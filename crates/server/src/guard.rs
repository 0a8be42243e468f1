//! Which addresses this server connects to where somebody else names them: input images and webhooks.
//!
//! The address connected to is checked, not the name: names resolve through [`Guard`] at every connection, so a name that
//! changes its answer gains nothing; literal addresses never pass a resolver and are looked at before. Proxies of the
//! environment are not used, redirects are not followed, nothing is repeated below us.

use std::error::Error;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::{Client, ClientBuilder, Url, redirect};

use crate::http::network::{Network, is_public};

/// Answers for names, in place of the system's.
pub type Names = Arc<dyn Fn(&str) -> Vec<IpAddr> + Send + Sync>;

/// Public addresses, and what the operator allows beside them.
#[derive(Clone)]
pub struct Guard {
    allow: Arc<[Network]>,
    names: Option<Names>,
}

/// A name has no address that may be connected to.
#[derive(Debug)]
pub struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name has no public address")
    }
}

impl Error for Refused {}

impl Refused {
    /// Whether this is why a request failed.
    pub fn is_behind(error: &reqwest::Error) -> bool {
        let mut source: Option<&(dyn Error + 'static)> = Some(error);
        while let Some(current) = source {
            if current.is::<Self>() {
                return true;
            }
            source = current.source();
        }
        false
    }
}

impl Guard {
    /// Admits public addresses and these networks.
    pub fn new(allow: Vec<Network>) -> Self {
        Self { allow: allow.into(), names: None }
    }

    /// Asks this for addresses of names: for tests, whose names change their answers.
    #[must_use]
    pub fn with_names(self, names: Names) -> Self {
        Self { names: Some(names), ..self }
    }

    /// Whether this address may be connected to.
    pub fn admits(&self, address: IpAddr) -> bool {
        is_public(address) || self.allow.iter().any(|network| network.contains(address))
    }

    /// Whether a URL names an address that may not be connected to. `false` says nothing of names.
    pub fn refuses_literal(&self, url: &Url) -> bool {
        let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
        host.parse::<IpAddr>().is_ok_and(|address| !self.admits(address))
    }

    /// A client that connects to nothing else.
    pub fn client(&self) -> ClientBuilder {
        Client::builder()
            .redirect(redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .dns_resolver(self.clone())
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            let found: Vec<SocketAddr> = match &guard.names {
                Some(names) => names(name.as_str()).into_iter().map(|address| SocketAddr::new(address, 0)).collect(),
                None => tokio::net::lookup_host((name.as_str(), 0)).await?.collect(),
            };
            let admitted: Vec<SocketAddr> = found.into_iter().filter(|address| guard.admits(address.ip())).collect();
            if admitted.is_empty() {
                return Err(Box::new(Refused) as Box<dyn Error + Send + Sync>);
            }
            Ok(Box::new(admitted.into_iter()) as Addrs)
        })
    }
}
