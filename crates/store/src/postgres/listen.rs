//! A connection that hears notifications. It belongs to no pool: it does nothing else.

use tokio::sync::mpsc;
use tokio_postgres::{AsyncMessage, Client};

use super::connect::Target;
use super::session::Failure;

/// Notifications that wait to be heard; what does not fit is dropped, since several hints say what one says.
const HEARD: usize = 64;

/// A connection that hears notifications.
pub(super) struct Listening {
    /// To notify on, or to ask.
    pub client: Client,
    /// Its number at the server, by which its own notifications are known.
    pub backend: i32,
    heard: mpsc::Receiver<i32>,
}

impl Listening {
    /// Listens to one channel.
    ///
    /// # Errors
    /// There is no connection.
    pub async fn new(target: &Target, channel: &str) -> Result<Self, Failure> {
        let (tell, heard) = mpsc::channel(HEARD);
        let drive = |mut driver: super::connect::Driver| async move {
            while let Some(Ok(message)) = std::future::poll_fn(|context| driver.poll_message(context)).await {
                if let AsyncMessage::Notification(notification) = message {
                    // Full: whoever listens has hints enough.
                    let _ = tell.try_send(notification.process_id());
                }
            }
        };
        let dialed = target.dial_with(drive).await;
        let (client, _task) = dialed.map_err(|error| Failure::Unavailable(error.into()))?;
        client.batch_execute(&format!("listen {channel}")).await?;
        let backend = client.query_one("select pg_backend_pid()", &[]).await?.get(0);
        Ok(Self { client, backend, heard })
    }

    /// The number of the backend that notified next; `None` when the connection has ended.
    pub async fn heard(&mut self) -> Option<i32> {
        self.heard.recv().await
    }
}
