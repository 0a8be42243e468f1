//! `webhook_url` of a create: checked, and given the endpoint whose bounds and circuit hold for it.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use longtake_core::id::{EndpointId, ProjectId};
use longtake_core::webhook::{Dialect, EventTypes, VideoWebhook};

use crate::app::App;
use crate::http::error::ApiError;
use crate::http::webhook_endpoints::check_url;

/// Who else shall be told of a video's events, as its client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookWish {
    /// Where to; not yet looked at.
    pub url: String,
    /// Which events.
    pub types: EventTypes,
    /// In which words.
    pub dialect: Dialect,
    /// Sent along; names in lower case.
    pub headers: BTreeMap<String, String>,
}

impl WebhookWish {
    /// The member that says where to.
    pub const PARAM: &str = "webhook_url";

    /// Every event, told as every feed tells it.
    pub const fn at(url: String) -> Self {
        Self { url, types: EventTypes::ALL, dialect: Dialect::Longtake, headers: BTreeMap::new() }
    }

    /// What was asked, for the fingerprint of a create.
    pub fn parts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let dialect = match self.dialect {
            Dialect::Longtake => None,
            Dialect::ConduitA => Some("a"),
            Dialect::ConduitB => Some("b"),
        };
        let told = dialect.map(|dialect| ("webhook_dialect", dialect));
        let headers = self.headers.iter();
        let headers = headers.flat_map(|(name, value)| [("webhook_header", name.as_str()), ("value", value.as_str())]);
        std::iter::once((Self::PARAM, self.url.as_str())).chain(told).chain(headers)
    }

    /// Looks at the address, as far as that can be done without asking anybody.
    ///
    /// # Errors
    /// `webhook_url_refused`.
    pub fn check(&self, app: &App) -> Result<(), ApiError> {
        check_url(app, Self::PARAM, &self.url).map(drop)
    }

    /// Checks the address and finds its endpoint.
    ///
    /// # Errors
    /// `webhook_url_refused`.
    pub async fn order(&self, app: &App, project: ProjectId) -> Result<VideoWebhook, ApiError> {
        let Self { url, types, dialect, headers } = self;
        let origin = check_url(app, Self::PARAM, url)?.origin().ascii_serialization();
        let endpoint = match app.memory.origins.get(project, &origin) {
            Some(endpoint) => endpoint,
            None => {
                let endpoint = app.store.origin_endpoint(project, &origin).await?;
                app.memory.origins.note(project, origin, endpoint);
                endpoint
            }
        };
        let (url, types, dialect, headers) = (url.as_str().into(), *types, *dialect, headers.clone());
        Ok(VideoWebhook { endpoint, url, types, dialect, headers })
    }
}

/// Origins remembered at once.
const MAX_ORIGINS: usize = 10_000;

/// Endpoints of the origins that were told of lately: they never change, so a create need not ask the store for one.
#[derive(Default)]
pub struct RecentOrigins(Mutex<HashMap<(ProjectId, String), EndpointId>>);

impl RecentOrigins {
    fn get(&self, project: ProjectId, origin: &str) -> Option<EndpointId> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&(project, origin.to_owned())).copied()
    }

    fn note(&self, project: ProjectId, origin: String, endpoint: EndpointId) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_ORIGINS {
            known.clear();
        }
        known.insert((project, origin), endpoint);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_told_apart_by_project_and_bounded() {
        let origins = RecentOrigins::default();
        origins.note(ProjectId(1), "https://a".to_owned(), EndpointId(7));
        assert_eq!(origins.get(ProjectId(1), "https://a"), Some(EndpointId(7)));
        assert_eq!(origins.get(ProjectId(2), "https://a"), None);
        assert_eq!(origins.get(ProjectId(1), "https://b"), None);
        for number in 0..=MAX_ORIGINS {
            origins.note(ProjectId(1), format!("https://{number}"), EndpointId(8));
        }
        assert!(origins.0.lock().unwrap().len() <= MAX_ORIGINS);
        assert_eq!(origins.get(ProjectId(1), &format!("https://{MAX_ORIGINS}")), Some(EndpointId(8)));
    }
}
