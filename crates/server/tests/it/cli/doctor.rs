//! What `longtake doctor` says, and that it makes nothing: a look at a mistyped folder must not turn it into an installation.

use std::process::Output;

use longtake_testing::s3::{ACCESS_KEY_ID, BUCKET, SECRET_ACCESS_KEY, TestS3};

use super::*;

/// Mistakes in what is said of the artifact store, and a part of the line that names each.
const MISTAKES: &[(&str, &str)] = &[
    (
        "artifacts = \"s3://videos/x\"\n[storage]\naccess_key_id = \"env:NOPE\"\nsecret_access_key = \"k\"",
        "[storage] access_key_id: the environment variable NOPE is not set; set it",
    ),
    (
        "artifacts = \"s3://videos/x\"\n[storage]\naccess_key_id = \"k\"\nsecret_access_key = \"file:nope.key\"",
        "[storage] secret_access_key: there is no file nope.key; write the secret into it",
    ),
    (
        "artifacts = \"gs://videos/x\"\n[storage]\nsecret_access_key = \"{nope\"",
        "[storage] secret_access_key: is no key of a service account, which is JSON; put the whole file there",
    ),
    (
        "artifacts = \"gs://videos/x\"\n[storage]\nsecret_access_key = '{\"type\": \"user\"}'",
        "storage: is not enough: ",
    ),
    (
        "artifacts = \"az://videos/x\"\n[storage]\naccess_key_id = \"k\"\nsecret_access_key = \"no base64\"",
        "[storage] secret_access_key: is no key of a storage account",
    ),
    ("artifacts = \"file:/proc/nope\"", "artifacts: /proc/nope is not there and cannot be made"),
    ("artifacts = \"file:longtake.toml\"", "artifacts: longtake.toml"),
    ("artifacts = \"file:mistyped\"", "artifacts: mistyped is not there; the next `longtake serve` makes it"),
];

/// Everything below a folder, in order.
fn tree(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(tree(&entry.path()));
        }
        found.push(entry.path());
    }
    found.sort();
    found
}

/// Runs doctor, which must leave the folder as it is; temporary files are made in it, so that they are seen too.
fn doctor(home: &Home, arguments: &[&str]) -> Output {
    let temporary = home.0.join("tmp");
    std::fs::create_dir_all(&temporary).unwrap();
    let before = tree(&home.0);
    let output = home.command(&[&["doctor"], arguments].concat()).env("TMPDIR", &temporary).output().unwrap();
    let after = tree(&home.0);
    assert_eq!(after, before, "doctor {arguments:?} made or removed something: {}", text(&output.stdout));
    output
}

fn line(output: &Output, what: &str) -> String {
    let all = text(&output.stdout);
    let found = all.lines().find(|line| line.get(6..).is_some_and(|rest| rest.starts_with(&format!("{what} "))));
    found.unwrap_or_else(|| panic!("no {what}: {all}")).to_owned()
}

fn failures(output: &Output) -> Vec<String> {
    text(&output.stdout).lines().filter(|line| line.starts_with("FAIL")).map(str::to_owned).collect()
}

#[test]
fn a_mistake_in_the_artifact_store_is_no_damage_of_the_database() {
    for migrated in [false, true] {
        let home = Home::new(&format!("doctor-storage-{migrated}"));
        if migrated {
            home.ok(&["migrate"]);
        }
        for (config, part) in MISTAKES {
            std::fs::write(home.0.join("longtake.toml"), config).unwrap();
            let output = doctor(&home, &[]);
            assert_eq!(output.status.code(), Some(1), "{config}: {}", text(&output.stdout));
            let failures = failures(&output);
            assert_eq!(failures.len(), 1, "{config}: {failures:?}");
            let said = line(&output, "artifact store");
            assert!(said.starts_with("FAIL") && said.contains(part), "{config}: {said}");
            assert!(!text(&output.stdout).contains("backup"), "{config}: {}", text(&output.stdout));
            // The rest is looked at all the same.
            assert!(line(&output, "account sandbox").starts_with("ok"), "{config}: {}", text(&output.stdout));
            let database = line(&output, "database");
            assert!(database.starts_with(if migrated { "ok" } else { "warn" }), "{config}: {database}");
        }
    }
}

#[test]
fn what_is_not_there_is_not_made_and_fails_where_it_was_named() {
    let home = Home::new("doctor-nothing");
    // Nobody named anything: a first start is announced.
    let output = doctor(&home, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let said = line(&output, "data directory");
    assert!(said.starts_with("warn") && said.contains("./longtake-data is not there"), "{said}");
    assert!(line(&output, "disk sync").starts_with("ok"));
    // Whoever names a folder may have mistyped it.
    let output = doctor(&home, &["--data-dir", "./nd/below"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let said = line(&output, "data directory");
    assert!(said.starts_with("FAIL") && said.contains("./nd/below is not there"), "{said}");
    assert!(said.contains("the first `longtake serve` makes it; correct --data-dir"), "{said}");
    assert_eq!(failures(&output).len(), 1, "{}", text(&output.stdout));
    // So it is with a database of its own.
    let output = doctor(&home, &["--database", "sqlite:elsewhere/rows.db"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    assert!(line(&output, "database").starts_with("FAIL"), "{}", text(&output.stdout));
    // A volume that was mounted for the first start, as it comes from mkfs.
    std::fs::create_dir_all(home.0.join("volume/lost+found")).unwrap();
    let output = doctor(&home, &["--data-dir", "volume"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(line(&output, "data directory").contains("volume is empty"), "{}", text(&output.stdout));
    // A folder of something else.
    std::fs::create_dir(home.0.join("photos")).unwrap();
    std::fs::write(home.0.join("photos/cat.jpg"), "cat").unwrap();
    let output = doctor(&home, &["--data-dir", "photos"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let said = line(&output, "database");
    assert!(said.starts_with("FAIL") && said.contains("photos/longtake.db is not there"), "{said}");
    assert_eq!(failures(&output).len(), 1, "{}", text(&output.stdout));
}

#[test]
fn what_an_installation_lacks_is_not_made() {
    let home = Home::new("doctor-lacks");
    home.ok(&["migrate"]);
    // The lock stays where the last process left it.
    let output = doctor(&home, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(line(&output, "secret key").starts_with("warn"), "{}", text(&output.stdout));
    assert!(line(&output, "admin key").starts_with("warn"), "{}", text(&output.stdout));
    std::fs::remove_dir_all(home.0.join("longtake-data/artifacts")).unwrap();
    let output = doctor(&home, &[]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
    let said = line(&output, "artifact store");
    assert!(said.starts_with("FAIL") && said.contains("bring it back"), "{said}");
    assert!(line(&output, "database").ends_with(" whole"), "{}", text(&output.stdout));
}

#[test]
fn a_bucket_is_tried_before_the_first_start_and_stays_nobodys() {
    let s3 = TestS3::start();
    let home = Home::new("doctor-bucket");
    let config = format!(
        "artifacts = \"s3://{BUCKET}/x\"\n[storage]\nendpoint = \"{}\"\nallow_http = true\naccess_key_id = \"{ACCESS_KEY_ID}\"\nsecret_access_key = \"{SECRET_ACCESS_KEY}\"\n",
        s3.url()
    );
    std::fs::write(home.0.join("longtake.toml"), config).unwrap();
    let output = doctor(&home, &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    let said = line(&output, "artifact store");
    assert!(said.starts_with("ok") && said.ends_with("written, read and removed"), "{said}");
    assert_eq!(s3.objects(), Vec::<String>::new());
}
