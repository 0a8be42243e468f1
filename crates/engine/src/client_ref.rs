//! Our name for an attempt, carried in its submission (rule R6).

use aws_lc_rs::hmac;
use longtake_core::ablation::{Rule, is_off};
use longtake_core::id::{AttemptNo, ClientRef, JobId, ProjectId};

/// Derives the name from (project, job, attempt): the same after a restart, and unguessable without the secret key.
pub fn client_ref(secret_key: &[u8; 32], project: ProjectId, job: JobId, attempt: AttemptNo) -> ClientRef {
    if is_off(Rule::R6) {
        return ClientRef::from_hash(&[0; 16]);
    }
    let key = hmac::Key::new(hmac::HMAC_SHA256, secret_key);
    let mut context = hmac::Context::with_key(&key);
    context.update(b"longtake client ref 1");
    context.update(&project.0.to_be_bytes());
    context.update(job.as_bytes());
    context.update(&attempt.0.to_be_bytes());
    let mut hash = [0; 16];
    hash.copy_from_slice(&context.sign().as_ref()[..16]);
    ClientRef::from_hash(&hash)
}
