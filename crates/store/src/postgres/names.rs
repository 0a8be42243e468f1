//! The small tables of names and keys. Numbers are dense: who adds one holds the table's lock.

use std::sync::Arc;

use longtake_core::id::{AccountId, PoolId, ProjectId};
use longtake_core::store::ApiKey;
use longtake_core::time::Timestamp;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use super::saves::text;
use super::session::{Failure, Values};
use super::{PostgresStore, sql};
use crate::rows::postgres::{get, key_from};
use crate::rows::{Result as Read, unreadable};

/// Most keys one call lists.
const MAX_KEYS: i64 = 1_000;

impl PostgresStore {
    /// Whether this is what was noted under the name; notes it where nothing was.
    pub(super) async fn try_agree(&self, name: &'static str, value: &str) -> Result<bool, Failure> {
        let session = self.session(&[&[sql::AGREE]]).await?;
        let row = session.run_alone(sql::AGREE, &[&name, &value]).await?.into_iter().next();
        Ok(get::<String>(&row.ok_or_else(|| unreadable("a note without its value"))?, 0)? == value)
    }

    /// Adds what is new under the table's lock; then, or where nothing is, the numbers.
    async fn numbered(
        &self,
        (lock, insert, select): (&'static str, &'static str, &'static str),
        names: usize,
        values: Values<'_>,
    ) -> Result<Vec<Row>, Failure> {
        let session = self.session(&[&[insert, select]]).await?;
        let known = session.rows(select, values).await?;
        if known.len() == names {
            return Ok(known);
        }
        let added = async {
            let (begun, locked, added, rows) = futures::join!(
                session.begin(),
                session.command(lock),
                session.run(insert, values),
                session.rows(select, values)
            );
            begun?;
            locked?;
            added?;
            rows
        };
        session.commit_with(added).await
    }

    /// Numbers for accounts.
    pub(super) async fn try_accounts(&self, accounts: &[(String, String)]) -> Result<Vec<AccountId>, Failure> {
        let names: Vec<String> = accounts.iter().map(|(name, _)| text(name)).collect();
        let providers: Vec<String> = accounts.iter().map(|(_, provider)| text(provider)).collect();
        let queries = ("lock table account in share row exclusive mode", sql::ACCOUNTS_INSERT, sql::ACCOUNTS_GET);
        let rows = self.numbered(queries, accounts.len(), &[&names, &providers]).await?;
        Ok(rows.iter().map(|row| get(row, 0).map(AccountId)).collect::<Read<_>>()?)
    }

    /// Numbers for models of accounts.
    pub(super) async fn try_pools(&self, pools: &[(AccountId, Arc<str>)]) -> Result<Vec<PoolId>, Failure> {
        let accounts: Vec<i32> = pools.iter().map(|(account, _)| account.0).collect();
        let models: Vec<String> = pools.iter().map(|(_, model)| text(model)).collect();
        let queries = ("lock table pool in share row exclusive mode", sql::POOLS_INSERT, sql::POOLS_GET);
        let rows = self.numbered(queries, pools.len(), &[&accounts, &models]).await?;
        Ok(rows.iter().map(|row| get(row, 0).map(PoolId)).collect::<Read<_>>()?)
    }

    /// The number of a project.
    pub(super) async fn try_project(&self, name: &str) -> Result<ProjectId, Failure> {
        let queries = ("lock table project in share row exclusive mode", sql::PROJECT_INSERT, sql::PROJECT_GET);
        let rows = self.numbered(queries, 1, &[&text(name)]).await?;
        let row = rows.first().ok_or_else(|| unreadable("a project without a number"))?;
        Ok(ProjectId(get(row, 0)?))
    }

    /// Stores a key; its id is filled in.
    pub(super) async fn try_create_key(&self, key: &ApiKey) -> Result<ApiKey, Failure> {
        let session = self.session(&[&[sql::KEY_INSERT]]).await?;
        let (name, hash) = (text(&key.name), &key.hash[..]);
        let (created_at, revoked_at) = (key.created_at.as_micros(), key.revoked_at.map(Timestamp::as_micros));
        let values: [&(dyn ToSql + Sync); 6] = [&name, &key.project.0, &hash, &key.scopes, &created_at, &revoked_at];
        let inserted = async {
            let (begun, locked, row) = futures::join!(
                session.begin(),
                session.command("lock table api_key in share row exclusive mode"),
                session.row(sql::KEY_INSERT, &values)
            );
            begun?;
            locked?;
            row
        };
        let row = session.commit_with(inserted).await?.ok_or_else(|| unreadable("a key without a number"))?;
        Ok(ApiKey { id: get(&row, 0)?, ..key.clone() })
    }

    /// All API keys.
    pub(super) async fn try_keys(&self) -> Result<Vec<ApiKey>, Failure> {
        let session = self.session(&[&[sql::KEYS]]).await?;
        let rows = session.rows(sql::KEYS, &[&MAX_KEYS]).await?;
        Ok(rows.iter().map(key_from).collect::<Read<_>>()?)
    }

    /// Revokes a key; `false` if there is none.
    pub(super) async fn try_revoke_key(&self, id: i64) -> Result<bool, Failure> {
        let session = self.session(&[&[sql::KEY_REVOKE]]).await?;
        Ok(session.run(sql::KEY_REVOKE, &[&id, &self.bound_now()]).await? == 1)
    }

    /// The unrevoked key with this hash.
    pub(super) async fn try_find_key(&self, hash: &[u8; 32]) -> Result<Option<ApiKey>, Failure> {
        let session = self.session(&[&[sql::KEY_FIND]]).await?;
        let row = session.row(sql::KEY_FIND, &[&&hash[..]]).await?;
        Ok(row.as_ref().map(key_from).transpose()?)
    }
}
