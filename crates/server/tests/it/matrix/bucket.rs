//! Cells with videos in a bucket: each is several parts long, on a real S3 server that each node reaches by itself.
//!
//! Beside what every cell is audited for: what a row names lies in the bucket and survives a sweep, whatever else lies
//! there goes with it, and parts of an upload whose process died are neither listed nor swept: no artifact, for nobody.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use longtake::config::{Config, Role, Sources};
use longtake::wiring;
use longtake_engine::retention;
use longtake_testing::s3::TestS3;
use tokio::net::TcpListener;

use super::cell::Cell;
use super::faults::Fault;
use super::points::Point;
use super::stage::Stage;
use crate::fleet::artifacts::{Artifacts, keys};
use crate::fleet::vendor::Class;

/// Bytes of a video: two whole parts and a third.
pub const VIDEO_BYTES: u64 = 20_000_000;

/// What every change runs: the points at which bytes are under way or just there, each with a death and with a silence.
pub const CELLS: [Cell; 14] = [
    Cell::in_bucket(Point::C11, Fault::F1, Class::None),
    Cell::in_bucket(Point::C12, Fault::F1, Class::None),
    Cell::in_bucket(Point::C12, Fault::F6, Class::None),
    Cell::in_bucket(Point::C12Parts, Fault::F1, Class::Lookup),
    Cell::in_bucket(Point::C12Parts, Fault::F2, Class::None),
    Cell::in_bucket(Point::C12Parts, Fault::F9Bucket, Class::None),
    Cell::in_bucket(Point::C13, Fault::F1, Class::None),
    Cell::in_bucket(Point::C13, Fault::F2, Class::Lookup),
    Cell::in_bucket(Point::C13, Fault::F9Database, Class::None),
    Cell::in_bucket(Point::C13, Fault::F11, Class::None),
    Cell::in_bucket(Point::C14, Fault::F1, Class::None),
    Cell::in_bucket(Point::C14, Fault::F3Applied, Class::None),
    Cell::in_bucket(Point::C17, Fault::F1, Class::None),
    Cell::in_bucket(Point::C18, Fault::F2, Class::None),
];

/// Points at which it matters where bytes lie.
const POINTS: [Point; 7] = [Point::C9, Point::C11, Point::C12, Point::C12Parts, Point::C13, Point::C14, Point::C18];

/// All that can be combined, for the whole matrix. Which class the provider is says nothing about bytes.
pub fn whole() -> impl Iterator<Item = Cell> {
    let all = POINTS.into_iter().flat_map(|point| Fault::ALL.map(|fault| Cell::in_bucket(point, fault, Class::None)));
    all.chain(CELLS.into_iter().filter(|cell| cell.class != Class::None || !POINTS.contains(&cell.point)))
}

/// What a death at this point leaves in the bucket: objects that no row names, and parts that are no object.
const fn left_by_death(point: Point) -> (bool, bool) {
    (matches!(point, Point::C13), matches!(point, Point::C12Parts))
}

/// Looks at the bucket at rest, sweeps it, and looks again.
pub async fn audit(stage: &Stage) -> Result<Vec<String>, String> {
    let Artifacts::Bucket(s3, _) = &stage.settings.artifacts else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    let rows = stage.db.rows("select key from artifact").await?;
    let named: BTreeSet<String> = rows.iter().filter_map(|row| row[0].clone()).collect();
    let there: BTreeSet<String> = keys(s3).into_iter().collect();
    let (left, parts) = (there.difference(&named).count(), s3.parts());
    if stage.cell.fault == Fault::F1 {
        // Else the cell was not where it says it was.
        let (objects, uploads) = left_by_death(stage.cell.point);
        if objects && left == 0 || uploads && parts == 0 {
            found.push(format!("a death at {:?} left {left} objects and {parts} parts", stage.cell.point));
        }
    }
    let swept = sweep(stage, s3).await?;
    let after: BTreeSet<String> = keys(s3).into_iter().collect();
    if after != named {
        found.push(format!("I8: rows name {named:?}, after a sweep there is {after:?}"));
    }
    if usize::try_from(swept) != Ok(left) {
        found.push(format!("{swept} objects were swept, {left} of {there:?} were named by no row"));
    }
    if s3.parts() != parts {
        found.push(format!("{parts} parts of the dead were there before a sweep, {} after it", s3.parts()));
    }
    Ok(found)
}

/// One sweep of everything that no row names, however young, by a process like the others.
async fn sweep(stage: &Stage, s3: &Arc<TestS3>) -> Result<u64, String> {
    let file = stage.dir.join("sweeper.toml");
    let settings =
        crate::fleet::Settings { artifacts: stage.settings.artifacts.through(s3.address()), ..stage.settings.clone() };
    let database = stage.db.url_through(stage.db.address());
    std::fs::write(&file, settings.config(&database)).map_err(|error| error.to_string())?;
    let sources = Sources { file: Some(file), folder: stage.dir.clone(), ..Sources::default() };
    let mut config = Config::load(sources).map_err(|error| error.to_string())?;
    (config.general.role, config.general.data_dir) = (Role::Api, stage.dir.join("sweeper.data"));
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(|error| error.to_string())?;
    let running = wiring::start(config, listener).await.map_err(|error| error.to_string())?;
    let swept = retention::sweep(running.app.engine.parts(), Duration::ZERO).await;
    running.stop().await;
    Ok(swept)
}
