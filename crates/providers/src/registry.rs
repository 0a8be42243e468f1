//! The list of providers, and the adapters of the configured accounts.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use longtake_core::id::{AccountId, Random};
use longtake_core::provider::Provider;
use longtake_core::time::Clock;

pub use crate::account::{AccountConfig, BuildError, ModelLimits};
use crate::http::Clients;
use crate::nearest::nearest;
use crate::{minimax, openai_compatible, sandbox};

/// What adapters are made from.
#[derive(Clone)]
pub struct ProviderDeps {
    /// The only source of time.
    pub clock: Arc<dyn Clock>,
    /// The only source of randomness.
    pub random: Arc<dyn Random>,
    /// Where the sandbox keeps its jobs: in `sandbox/` below it.
    pub data_dir: PathBuf,
}

type Build = fn(&AccountConfig, &ProviderDeps, &mut Clients) -> Result<Arc<dyn Provider>, BuildError>;

/// One line per provider: the only line outside its folder.
const PROVIDERS: [(&str, Build); 3] = [
    (minimax::NAME, minimax::build),
    (openai_compatible::NAME, openai_compatible::build),
    (sandbox::NAME, sandbox::build),
];

/// The providers there are, by the name that `provider = "…"` takes.
pub fn names() -> impl Iterator<Item = &'static str> {
    PROVIDERS.iter().map(|(name, _)| *name)
}

/// Makes one adapter per account. Nothing is called and nothing is sent.
///
/// # Errors
/// `BuildError` names the first account that cannot be used, the key at fault and what would do.
pub fn build(
    accounts: Vec<AccountConfig>,
    deps: ProviderDeps,
) -> Result<BTreeMap<AccountId, Arc<dyn Provider>>, BuildError> {
    let mut clients = Clients::new(Arc::clone(&deps.clock));
    let mut built = BTreeMap::new();
    for account in &accounts {
        let Some((_, build)) = PROVIDERS.iter().find(|(name, _)| *name == account.provider) else {
            return Err(account.error("provider", unknown(&account.provider)));
        };
        let provider = build(account, &deps, &mut clients)?;
        if built.insert(account.id, provider).is_some() {
            return Err(account.error("id", format!("two accounts have the number {}", account.id)));
        }
    }
    Ok(built)
}

fn unknown(name: &str) -> String {
    let known = names().collect::<Vec<_>>().join(", ");
    match nearest(name, names()) {
        Some(near) => format!("there is no {name:?}; did you mean {near:?}? There are: {known}"),
        None => format!("there is no {name:?}; there are: {known}"),
    }
}
