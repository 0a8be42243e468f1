//! Accounts that cannot be used say which, and why.

use longtake_providers::registry::{AccountConfig, BuildError, build, names};
use secrecy::SecretString;
use serde_json::json;

use crate::support::{account, deps};

fn refused(account: AccountConfig) -> BuildError {
    match build(vec![account], deps("/nonexistent".into())) {
        Ok(_) => panic!("it was accepted"),
        Err(error) => error,
    }
}

#[test]
fn the_providers_have_names() {
    assert_eq!(names().collect::<Vec<_>>(), ["minimax", "openai_compatible", "sandbox"]);
}

#[test]
fn an_unusable_account_names_the_key_at_fault() {
    let local = Some("http://127.0.0.1:9/v1");
    let changed = |change: fn(&mut AccountConfig)| {
        let mut account = account("openai_compatible", local);
        change(&mut account);
        account
    };
    let cases = [
        (account("openai-compatible", local), "provider", "did you mean \"openai_compatible\""),
        (account("zzzzzzzzzzzz", local), "provider", "there are: minimax"),
        (account("openai_compatible", None), "base_url", "needs one"),
        (account("openai_compatible", Some("127.0.0.1:9")), "base_url", "is not a URL"),
        (account("openai_compatible", Some("ftp://127.0.0.1")), "base_url", "https://"),
        (account("openai_compatible", Some("http://u:p@127.0.0.1")), "base_url", "api_key"),
        (account("openai_compatible", Some("http://127.0.0.1/?a=b")), "base_url", "query"),
        (account("minimax", None), "api_key", "needs one"),
        (account("sandbox", local), "base_url", "built in"),
        (changed(|account| account.lookup = Some("by_ref".to_owned())), "lookup", "list_by_prompt, none"),
        (changed(|account| account.idempotency = Some("yes".to_owned())), "idempotency", "key, none"),
        (changed(|account| account.poll_first_ms = Some(0)), "poll_first_ms", "at least 1"),
        (
            changed(|account| (account.poll_first_ms, account.poll_ceiling_ms) = (Some(9), Some(8))),
            "poll_ceiling_ms",
            "poll_first_ms",
        ),
        (changed(|account| account.api_key = Some(SecretString::from("a\nb"))), "api_key", "line break"),
        (
            changed(|account| account.options = json!({"cancle": "delete"}).as_object().unwrap().clone()),
            "options",
            "unknown field `cancle`",
        ),
    ];
    for (account, key, problem) in cases {
        let error = refused(account);
        assert_eq!(error.key, key, "{error}");
        assert!(error.to_string().starts_with("[accounts.tested]") && error.problem.contains(problem), "{error}");
    }
}

#[test]
fn a_key_is_not_in_an_accounts_debug_output() {
    assert!(!format!("{:?}", account("minimax", Some("http://127.0.0.1:9"))).contains(crate::support::KEY));
}
