//! What was sent about one job, to whomever; found by the job.

use longtake_core::id::{DeliveryId, EndpointId, JobId, ProjectId};
use longtake_core::webhook::{Delivery, JobDeliveries};
use tokio_postgres::types::ToSql;

use super::load::limit_of;
use super::session::Failure;
use super::webhooks::page_of;
use super::{PostgresStore, sql};
use crate::rows::postgres::{delivery_from, get, uuid_of};

impl PostgresStore {
    pub(super) async fn try_job_deliveries(
        &self,
        project: ProjectId,
        job: JobId,
        after: Option<DeliveryId>,
        limit: usize,
    ) -> Result<Option<JobDeliveries>, Failure> {
        let session = self.session(&[&[sql::JOB_TOLD, sql::JOB_DELIVERIES, sql::TRIES]]).await?;
        let (job, before) = (uuid_of(job), after.map_or(i64::MAX, |after| after.0));
        let most = limit_of(limit.saturating_add(1));
        let (told, rows) = futures::join!(async { session.row(sql::JOB_TOLD, &[&job, &project.0]).await }, async {
            session.rows(sql::JOB_DELIVERIES, &[&job, &before, &most]).await
        });
        let Some(told) = told? else { return Ok(None) };
        let own = get::<Option<i64>>(&told, 0)?.map(EndpointId);
        Ok(Some(JobDeliveries { page: page_of(&session, &rows?, limit).await?, own }))
    }

    pub(super) async fn try_redeliver_of_job(
        &self,
        project: ProjectId,
        job: JobId,
        delivery: DeliveryId,
    ) -> Result<Option<Delivery>, Failure> {
        let session = self.session(&[&[sql::REDELIVER_OF_JOB]]).await?;
        let values: [&(dyn ToSql + Sync); 4] = [&delivery.0, &uuid_of(job), &project.0, &self.bound_now()];
        let row = session.run_alone(sql::REDELIVER_OF_JOB, &values).await?.into_iter().next();
        Ok(row.as_ref().map(delivery_from).transpose()?)
    }
}
