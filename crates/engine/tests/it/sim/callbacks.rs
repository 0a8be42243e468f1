//! The provider's calls to us: one when it begins and one at the end, on time, early, late, repeated or never (F10).
//!
//! They come in through a front door, whoever owns the job, and are recorded as evidence. It repeats what is not taken,
//! for a while.

use std::sync::{Arc, Weak};

use longtake_core::attempt::Evidence;
use longtake_core::id::ProviderJobId;
use longtake_core::store::{EvidenceRecord, Store, Wake};
use longtake_engine::callback::read_token;
use tokio::sync::mpsc::UnboundedReceiver;

use super::clock::{pause, secs};
use super::world::{SECRET_KEY, World};

/// Where it is told to call; the provider and the token follow.
pub const BASE: &str = "sim://front-door/callbacks";
/// How often it tries.
const TRIES: usize = 5;

/// One call.
#[derive(Debug, Clone)]
pub struct Called {
    pub url: Box<str>,
    pub provider_job: ProviderJobId,
    /// The job goes on.
    pub pending: bool,
}

/// Takes calls in for as long as there is a world.
pub async fn receive(world: Weak<World>, mut calls: UnboundedReceiver<Called>) {
    while let Some(called) = calls.recv().await {
        let Some(world) = world.upgrade() else { return };
        tokio::spawn(take_in(world, called));
    }
}

async fn take_in(world: Arc<World>, called: Called) {
    let mut path = called.url.rsplit('/');
    let (token, provider) = (path.next().unwrap_or_default(), path.next().unwrap_or_default());
    let Some((job, attempt)) = read_token(&SECRET_KEY, provider, token) else {
        world.trace.violation(format!("a provider was told to call {}, which is no address of ours", called.url));
        return;
    };
    let said = EvidenceRecord {
        job,
        attempt,
        nonce: None,
        ended: None,
        evidence: Evidence::Accepted(called.provider_job.clone()),
        by_resemblance: false,
        exchanges: Vec::new(),
        wake: if called.pending { Wake::Owner } else { Wake::OwnerAlways },
    };
    for _ in 0..TRIES {
        let taken = world.front_door().record_evidence(vec![said.clone()]).await.is_ok();
        world.trace.log(format_args!("callback {job} n={attempt} {} taken: {taken}", called.provider_job));
        if taken {
            return;
        }
        pause(secs(5)).await;
    }
}
