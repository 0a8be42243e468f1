//! Whom TLS trusts, against a server with a certificate of a private authority.

use std::path::Path;

use longtake_testing::postgres::{OTHER_CA, PostgresCluster, PostgresOptions, TEST_CA};

use super::super::connect::Target;
use crate::OpenError;

/// Certificate files that are removed with the guard.
struct Files(std::path::PathBuf);

impl Files {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("longtake-tls-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in [("ca.pem", TEST_CA), ("other.pem", OTHER_CA), ("empty.pem", "")] {
            std::fs::write(folder.join(name), text).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _left_behind = std::fs::remove_dir_all(&self.0);
    }
}

/// Whether the session is encrypted; or why there is none.
async fn encrypted(url: &str) -> Result<bool, OpenError> {
    let (client, _task) = Target::parse(url)?.dial().await?;
    let sql = "select ssl from pg_stat_ssl where pid = pg_backend_pid()";
    Ok(client.query_one(sql, &[]).await.unwrap().get(0))
}

#[tokio::test]
async fn each_mode_trusts_whom_it_says() {
    let cluster = PostgresCluster::start_with(PostgresOptions { tls: true, ..PostgresOptions::default() });
    let files = Files::new();
    let url = cluster.url("postgres");
    assert!(!encrypted(&format!("{url}?sslmode=disable")).await.unwrap());
    assert!(encrypted(&url).await.unwrap(), "preferred, whoever it is");
    for mode in ["require", "verify-ca", "verify-full"] {
        let refused = encrypted(&format!("{url}?sslmode={mode}")).await.unwrap_err().to_string();
        // Where the machine has no certificates at all, that is what is said.
        assert!(refused.contains("certificate"), "the system does not know this authority: {refused}");
        let known = format!("{url}?sslmode={mode}&sslrootcert={}", files.path("ca.pem"));
        assert!(encrypted(&known).await.unwrap(), "{mode}");
        let other = format!("{url}?sslmode={mode}&sslrootcert={}", files.path("other.pem"));
        let refused = encrypted(&other).await.unwrap_err().to_string();
        assert!(refused.contains("certificate"), "another authority: {refused}");
    }
    let alone = format!("{url}?sslrootcert={}", files.path("ca.pem").replace('/', "%2F"));
    assert!(encrypted(&alone).await.unwrap());
}

#[tokio::test]
async fn the_host_must_be_the_one_of_the_certificate() {
    let cluster = PostgresCluster::start_with(PostgresOptions { tls: true, ..PostgresOptions::default() });
    let files = Files::new();
    let url = format!("{}?sslmode=require&sslrootcert={}", cluster.url("postgres"), files.path("ca.pem"));
    assert!(encrypted(&url.replace("127.0.0.1", "localhost")).await.unwrap());
    // The same server, by a name that its certificate does not have.
    let other = url.replace("127.0.0.1", "db.example") + "&hostaddr=127.0.0.1";
    let refused = encrypted(&other).await.unwrap_err().to_string();
    assert!(refused.contains("db.example") || refused.contains("not valid for name"), "{refused}");
}

#[tokio::test]
async fn a_server_without_tls_is_refused_where_tls_is_required() {
    let cluster = PostgresCluster::start();
    let files = Files::new();
    let url = cluster.url("postgres");
    assert!(!encrypted(&format!("{url}?sslmode=prefer")).await.unwrap());
    let required = format!("{url}?sslmode=require&sslrootcert={}", files.path("ca.pem"));
    let refused = encrypted(&required).await.unwrap_err().to_string();
    assert!(refused.contains("TLS"), "{refused}");
}

#[test]
fn certificates_that_are_none_are_named() {
    let files = Files::new();
    for (name, wanted) in [("empty.pem", "holds no PEM certificate"), ("missing.pem", "missing.pem")] {
        let url = format!("postgres://db/x?sslrootcert={}", files.path(name));
        let Err(error) = Target::parse(&url) else { panic!("{name} was read") };
        assert!(error.to_string().contains(wanted), "{error}");
    }
    assert!(Path::new(&files.path("ca.pem")).is_file());
}
