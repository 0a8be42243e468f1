//! From `[accounts.X]` and `[models.X]` to providers and routes.

use std::collections::BTreeMap;
use std::sync::Arc;

use longtake_core::id::{AccountId, PoolId};
use longtake_core::limits::Limits;
use longtake_core::route::Route;
use longtake_engine::AccountEntry;
use longtake_providers::registry::{self, AccountConfig, ModelLimits, ProviderDeps};
use secrecy::SecretString;

use super::{NamedRoutes, Opened, StartError};
use crate::config::{AccountSettings, Config, SANDBOX};

/// Accounts by number, and the models on offer in the order of the config.
pub struct Wired {
    /// Whom the engine may call.
    pub accounts: BTreeMap<AccountId, AccountEntry>,
    /// Models and their routes.
    pub models: Vec<NamedRoutes>,
}

/// Credentials by the name of their account.
pub type Secrets = BTreeMap<String, SecretString>;

/// Reads the credentials of all accounts.
///
/// # Errors
/// The first that is not there.
pub fn secrets(config: &Config) -> Result<Secrets, StartError> {
    let mut secrets = Secrets::new();
    for account in &config.accounts {
        let Some(secret) = &account.api_key else { continue };
        let path = ["accounts", account.name.as_str(), "api_key"];
        let variable = |name: &str| config.sources.variable(name).or_else(|| std::env::var(name).ok());
        let read = secret.read(&config.secrets_folder(), variable).map_err(|problem| config.error(&path, &problem))?;
        if let Some(warning) = read.warning {
            let line = config.error(&path, &warning);
            tracing::warn!("{line}");
        }
        secrets.insert(account.name.clone(), read.secret);
    }
    Ok(secrets)
}

/// Numbers the accounts and builds their providers. Nothing is called.
///
/// # Errors
/// The first account that cannot be used.
pub async fn wire(config: &Config, secrets: &Secrets, opened: &Opened) -> Result<Wired, StartError> {
    let mut settings: Vec<Option<&AccountSettings>> = config.accounts.iter().map(Some).collect();
    let has_own = config.accounts.iter().any(|account| account.name == SANDBOX);
    let is_used = config.sandbox.enabled
        || config.models.iter().flat_map(|model| &model.routes).any(|route| route.account == SANDBOX);
    if is_used && !has_own {
        settings.push(None);
    }
    let names = settings.iter().map(|account| match account {
        Some(account) => (account.name.clone(), account.provider.clone()),
        None => (SANDBOX.to_owned(), SANDBOX.to_owned()),
    });
    let names: Vec<(String, String)> = names.collect();
    let ids = opened.store.register_accounts(names.clone()).await;
    let ids = ids.map_err(|error| StartError::Other(format!("the accounts cannot be stored: {error}")))?;
    let mut configs = Vec::with_capacity(settings.len());
    for ((settings, (name, provider)), id) in settings.iter().zip(&names).zip(&ids) {
        configs.push(match settings {
            Some(settings) => account(config, settings, secrets, *id)?,
            None => AccountConfig::new(*id, name, provider),
        });
    }
    let deps = ProviderDeps {
        clock: Arc::clone(&opened.clock),
        random: Arc::clone(&opened.random),
        data_dir: config.general.data_dir.clone(),
    };
    let providers = registry::build(configs, deps)
        .map_err(|error| config.error(&["accounts", &error.account, error.key], &error.problem))?;
    let mut accounts = BTreeMap::new();
    for ((settings, (name, _)), id) in settings.iter().zip(&names).zip(&ids) {
        if let Some(provider) = providers.get(id) {
            let limits = settings.map_or(Limits::NONE, |settings| Limits {
                max_in_flight: settings.max_in_flight,
                per_minute: settings.requests_per_minute,
            });
            let drives = config.worker.accounts.is_empty() || config.worker.accounts.contains(name);
            accounts.insert(*id, AccountEntry { name: name.clone(), provider: Arc::clone(provider), limits, drives });
        }
    }
    let by_name: BTreeMap<&str, AccountId> = names.iter().map(|(name, _)| name.as_str()).zip(ids).collect();
    let mut models = models(config, &by_name);
    let routes: Vec<&mut Route> = models.iter_mut().flat_map(|(_, routes)| routes).collect();
    let named = routes.iter().map(|route| (route.account, Arc::clone(&route.model))).collect();
    let pools = opened.store.register_pools(named).await;
    let pools = pools.map_err(|error| StartError::Other(format!("the models cannot be stored: {error}")))?;
    for (route, pool) in routes.into_iter().zip(pools) {
        route.pool = pool;
    }
    Ok(Wired { accounts, models })
}

/// Models and their routes; the store has not numbered the pools yet.
fn models(config: &Config, accounts: &BTreeMap<&str, AccountId>) -> Vec<NamedRoutes> {
    let mut models: Vec<NamedRoutes> = Vec::new();
    for model in &config.models {
        let routes = model.routes.iter().filter_map(|route| {
            Some(Route {
                account: *accounts.get(route.account.as_str())?,
                model: route.model.as_str().into(),
                pool: PoolId::NONE,
                limits: Limits { max_in_flight: route.max_in_flight, per_minute: route.requests_per_minute },
            })
        });
        models.push((model.name.clone(), routes.collect()));
    }
    if config.sandbox.enabled
        && let Some(account) = accounts.get(SANDBOX)
    {
        let route = Route { account: *account, model: SANDBOX.into(), pool: PoolId::NONE, limits: Limits::NONE };
        models.push((SANDBOX.to_owned(), vec![route]));
    }
    models
}

fn account(
    config: &Config,
    settings: &AccountSettings,
    secrets: &Secrets,
    id: AccountId,
) -> Result<AccountConfig, StartError> {
    let mut account = AccountConfig::new(id, &settings.name, &settings.provider);
    account.api_key = secrets.get(&settings.name).cloned();
    account.base_url.clone_from(&settings.base_url);
    account.poll_first_ms = settings.poll_first_ms;
    account.poll_ceiling_ms = settings.poll_ceiling_ms;
    account.absence_settle_ms = settings.absence_settle_ms;
    account.verify_deadline_ms = settings.verify_deadline_ms;
    account.lookup.clone_from(&settings.lookup);
    account.idempotency.clone_from(&settings.idempotency);
    account.callbacks = config.general.public_url.is_some();
    account.options.clone_from(&settings.options);
    for model in &config.models {
        for route in model.routes.iter().filter(|route| route.account == settings.name) {
            let limits = ModelLimits {
                seconds: model.seconds.clone(),
                sizes: model.sizes.clone(),
                price_usd_micros_per_second: model.price_usd_micros_per_second,
            };
            let known = account.model_limits.entry(route.model.clone()).or_insert_with(|| limits.clone());
            if *known != limits {
                let problem = format!(
                    "{} of {} is limited differently by another model; give both the same seconds, sizes and price",
                    route.model, route.account
                );
                return Err(config.error(&["models", &model.name, "routes"], &problem).into());
            }
        }
    }
    Ok(account)
}
