//! What was sent about one job, to whomever; found by the job.

use longtake_core::id::{DeliveryId, EndpointId, JobId, ProjectId};
use longtake_core::webhook::{Delivery, JobDeliveries};
use rusqlite::{Connection, Result, params};

use super::change::Change;
use super::webhooks::page_of;
use super::{load, sql};
use crate::rows::webhooks::delivery_from;

/// The endpoint of a job's own webhook, if it has one; the outer `None` where the project has no such job.
fn told(connection: &Connection, project: ProjectId, job: JobId) -> Result<Option<Option<EndpointId>>> {
    let key = params![job.as_bytes(), project.0];
    load::first(connection, sql::JOB_TOLD, key, |row| Ok(row.get::<_, Option<i64>>(0)?.map(EndpointId)))
}

/// A page, newest first.
pub(super) fn page(
    connection: &Connection,
    project: ProjectId,
    job: JobId,
    after: Option<DeliveryId>,
    limit: usize,
) -> Result<Option<JobDeliveries>> {
    let Some(own) = told(connection, project, job)? else { return Ok(None) };
    let before = after.map_or(i64::MAX, |after| after.0);
    let params = params![job.as_bytes(), before, load::limit_of(limit.saturating_add(1))];
    let rows = load::all(connection, sql::JOB_DELIVERIES, params, delivery_from)?;
    Ok(Some(JobDeliveries { page: page_of(connection, rows, limit)?, own }))
}

impl Change<'_> {
    /// Due again, for whomever it is.
    pub(super) fn redeliver_of_job(&self, project: ProjectId, job: JobId, id: DeliveryId) -> Result<Option<Delivery>> {
        if told(self.connection, project, job)?.is_none() {
            return Ok(None);
        }
        let known = load::first(self.connection, sql::DELIVERY_GET, [id.0], delivery_from)?;
        known.filter(|known| known.job == job).map(|known| self.again(known)).transpose()
    }
}
