//! Statements of the tests themselves, run to the end on a thread of their own: callable from any kind of test.

use std::time::Duration;

use tokio_postgres::{Config, NoTls, SimpleQueryMessage};

/// Bound of one call.
const BOUND: Duration = Duration::from_secs(30);

/// Rows as PostgreSQL prints them; absent where null.
pub type TextRows = Vec<Vec<Option<String>>>;

/// Runs statements in a session of their own. Rows of all of them, in order.
pub(super) fn statements(url: &str, sql: &str) -> Result<TextRows, tokio_postgres::Error> {
    let config: Config = url.parse()?;
    let sql = sql.to_owned();
    let work = async move {
        let (client, connection) = config.connect(NoTls).await?;
        let driver = tokio::spawn(connection);
        let answer = client.simple_query(&sql).await;
        drop(client);
        // Its error, if any, is the one that the query had.
        let _same = driver.await;
        Ok::<_, tokio_postgres::Error>(answer?.into_iter().filter_map(texts).collect())
    };
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be built");
        runtime.block_on(async { tokio::time::timeout(BOUND, work).await })
    });
    thread.join().expect("the thread of a statement ends").expect("a statement of a test ends within its bound")
}

fn texts(message: SimpleQueryMessage) -> Option<Vec<Option<String>>> {
    match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|place| row.get(place).map(str::to_owned)).collect()),
        _ => None,
    }
}
