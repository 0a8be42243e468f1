//! Renders a delivery and sends it: the engine's way to receivers.

use std::collections::BTreeMap;

use async_trait::async_trait;
use longtake_core::event::JobEvent;
use longtake_core::store::Job;
use longtake_core::webhook::{Answer, Due, Endpoint, Sent, VideoWebhook, WebhookSender};

use super::client::Message;
use super::signature::secrets;
use crate::app::App;
use crate::http::conduit;
use crate::http::events::event_body;

/// Sends what the engine hands it.
pub struct Sender {
    app: App,
}

impl Sender {
    /// Renders as this app does.
    pub const fn new(app: App) -> Self {
        Self { app }
    }
}

#[async_trait]
impl WebhookSender for Sender {
    async fn send(&self, due: &Due) -> Option<Sent> {
        let Due { delivery, endpoint, event } = due;
        let Some(event) = event else { return Some(lost("the event is no longer kept")) };
        let job = match self.app.memory.recent_jobs.get(&self.app, endpoint.project, delivery.job).await {
            Ok(Some(job)) => job,
            Ok(None) => return Some(lost("the video was deleted")),
            Err(error) => {
                tracing::warn!(%error, "a webhook is sent later: its video cannot be read");
                return None;
            }
        };
        let own = job.request.webhook.as_ref().filter(|_| endpoint.url.is_none());
        let Some(url) = endpoint.url.as_deref().or(own.map(|webhook| &*webhook.url)) else {
            return Some(lost("there is no URL to send it to"));
        };
        match message(&self.app, endpoint, own, &job, event) {
            Ok(message) => Some(self.app.webhooks.post(&*self.app.clock, url, message).await),
            Err(problem) => {
                tracing::error!(%problem, "a webhook cannot be rendered");
                Some(lost("it could not be written as JSON"))
            }
        }
    }
}

/// There is nothing to send, now or later.
fn lost(words: &str) -> Sent {
    Sent { answer: Answer::Lost, status: None, duration_ms: 0, words: words.into() }
}

fn message(
    app: &App,
    endpoint: &Endpoint,
    own: Option<&VideoWebhook>,
    job: &Job,
    event: &JobEvent,
) -> Result<Message, serde_json::Error> {
    let told = event_body(app, job, event);
    let id = told.id.clone();
    let mut headers = own.map_or_else(BTreeMap::new, |webhook| webhook.headers.clone());
    let body = match own.and_then(|webhook| conduit::webhook::told(app, webhook.dialect, job, event)) {
        Some((body, more)) => {
            headers.extend(more);
            serde_json::to_vec(&body)?
        }
        None => serde_json::to_vec(&told)?,
    };
    let secrets = secrets(&app.engine.parts().secret_key, endpoint, app.clock.now());
    Ok(Message { id, body, secrets, headers })
}
