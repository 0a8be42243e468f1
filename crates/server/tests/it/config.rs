//! Config: layers, the exact line of every error, and the documents made from the settings.

use std::path::{Path, PathBuf};

use longtake::config::{Config, ConfigError, Role, Sources, document};
use longtake::http::limits::Limits;
use longtake_core::retention::Keep;

/// A folder with a config file in it.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str, file: &str) -> Self {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("config-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        std::fs::write(path.join("longtake.toml"), file).unwrap();
        Self(path)
    }

    fn load(
        &self,
        variables: &[(&str, &str)],
        flags: &[(&'static str, &'static [&'static str], &str)],
    ) -> Result<Config, ConfigError> {
        Config::load(Sources {
            variables: variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            flags: flags.iter().map(|(flag, path, value)| (*flag, *path, (*value).to_owned())).collect(),
            folder: self.0.clone(),
            ..Sources::default()
        })
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

const ACCOUNT: &str = "[accounts.gpus]\nprovider = \"openai_compatible\"\nbase_url = \"http://127.0.0.1:9700/v1\"\n";

/// Files and the line that says what is wrong with them.
const WRONG_FILES: &[(&str, &str)] = &[
    ("[worker]\nconcurency = 3", "longtake.toml: [worker] concurency: unknown key; did you mean concurrency?"),
    ("[wroker]\nconcurrency = 3", "longtake.toml: wroker: unknown section; did you mean worker?"),
    ("data_dirr = \"x\"", "longtake.toml: data_dirr: unknown key; did you mean data_dir?"),
    (
        "[retry]\nzzzzzzzz = 1",
        "longtake.toml: [retry] zzzzzzzz: unknown key; known: max_attempts, unavailable_secs, on_unknown",
    ),
    (
        "[worker]\nconcurrency = \"many\"",
        "longtake.toml: [worker] concurrency: must be a whole number from 1 to 100000, not \"many\"",
    ),
    (
        "[worker]\nconcurrency = 0",
        "longtake.toml: [worker] concurrency: must be a whole number from 1 to 100000, not 0",
    ),
    (
        "[worker]\nttl_secs = \"15s\"",
        "longtake.toml: [worker] ttl_secs: must be a whole number from 1 to 3600, not \"15s\"",
    ),
    (
        "[worker]\nttl_secs = 6",
        "longtake.toml: [worker] ttl_secs: must exceed beat_secs and margin_secs together; raise it or lower those",
    ),
    ("[sandbox]\nenabled = 1", "longtake.toml: [sandbox] enabled: must be true or false, not 1"),
    (
        "[retry]\non_unknown = \"guess\"",
        "longtake.toml: [retry] on_unknown: must be \"hold\", \"fail\" or \"resubmit\", not \"guess\"",
    ),
    ("worker = 3", "longtake.toml: worker: is a section; write [worker] and its settings below"),
    ("a = [\n", "longtake.toml: line 1: unclosed array, expected `]`; see longtake.example.toml"),
    ("listen = \"7373\"", "longtake.toml: listen: must be an address and port such as 127.0.0.1:7373, not \"7373\""),
    (
        "[inputs]\nallow_networks = [\"10.0.0\"]",
        "longtake.toml: [inputs] allow_networks: must be a list of networks such as [\"127.0.0.0/8\"], and item 1, \"10.0.0\", is not a network such as 127.0.0.0/8",
    ),
    ("database = \"postgres:x\"", "longtake.toml: database: is no URL; write postgres://USER@HOST/NAME"),
    (
        "[worker]\naccounts = [\"gpu\"]\nACCOUNT",
        "longtake.toml: [worker] accounts: there is no account \"gpu\"; did you mean gpus?",
    ),
    (
        "[models.m]\nroutes = [{ account = \"gpus\", model = \"x\", max_in_flight = 0 }]\nACCOUNT",
        "longtake.toml: [models.m] routes: max_in_flight of a route must be a whole number, 1 to 1000000",
    ),
    (
        "[models.m]\nroutes = [{ account = \"gpus\", model = \"x\", max_in_flight = 3 }]\n[models.n]\nroutes = [{ account = \"gpus\", model = \"x\" }]\nACCOUNT",
        "longtake.toml: [models.n] routes: x of gpus has other limits in another route; give all of them the same",
    ),
    (
        "database = \"mysql://x\"",
        "longtake.toml: database: names no database that is known; write sqlite:PATH or postgres://USER@HOST/NAME",
    ),
    (
        "artifacts = \"ftp://bucket/x\"",
        "longtake.toml: artifacts: \"ftp://bucket/x\" names no store that is known; write file:DIR, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX",
    ),
    (
        "artifacts = \"s3://Bucket/x\"",
        "longtake.toml: artifacts: \"Bucket\" is no name of a bucket: it has 3 to 63 small letters, digits and dashes; write s3://BUCKET/PREFIX",
    ),
    (
        "[storage]\nregion = \"eu-central-1\"",
        "longtake.toml: [storage] region: is for a bucket, and artifacts names none; write artifacts = \"s3://BUCKET/PREFIX\", or remove it",
    ),
    (
        "artifacts = \"az://videos\"\n[storage]\nserver_side_encryption = \"aes256\"",
        "longtake.toml: [storage] server_side_encryption: is for s3:// only; remove it, and set that at the bucket itself",
    ),
    (
        "artifacts = \"s3://videos/x\"\n[storage]\nserver_side_encryption = \"rot13\"",
        "longtake.toml: [storage] server_side_encryption: must be \"aes256\" or \"aws:kms\", not \"rot13\"",
    ),
    (
        "artifacts = \"s3://videos/x\"\n[storage]\nkms_key_id = \"k\"",
        "longtake.toml: [storage] kms_key_id: needs server_side_encryption = \"aws:kms\"; set it, or remove this",
    ),
    (
        "artifacts = \"s3://videos/x\"\n[storage]\naccess_key_id = \"k\"",
        "longtake.toml: [storage] secret_access_key: is missing beside access_key_id; set both, or neither",
    ),
    (
        "artifacts = \"s3://videos/x\"\n[storage]\nsecret_access_key = \"env:K\"",
        "longtake.toml: [storage] access_key_id: is missing beside secret_access_key; set both, or neither",
    ),
    (
        "artifacts = \"gs://videos/x\"\n[storage]\naccess_key_id = \"k\"",
        "longtake.toml: [storage] access_key_id: is not for gs://; remove it, and put the service account's key into secret_access_key",
    ),
    (
        "artifacts = \"s3://videos/x\"\n[storage]\nendpoint = \"http://10.0.0.1:9000\"",
        "longtake.toml: [storage] endpoint: is plain http, so anyone on the way could read the videos; use https, or set allow_http = true",
    ),
    (
        "artifacts = \"s3://videos/x\"\n[storage]\nendpoint = \"s3.example.com\"",
        "longtake.toml: [storage] endpoint: \"s3.example.com\" is no URL of a service; write one such as https://s3.example.com",
    ),
    (
        "[storage]\nserve = \"redirect\"",
        "longtake.toml: [storage] serve: redirects to a bucket, and artifacts names none; name one, set public_base_url, or write \"through\"",
    ),
    (
        "artifacts = \"s3://videos/x\"\n[storage]\npublic_base_url = \"https://cdn.example.com\"",
        "longtake.toml: [storage] public_base_url: changes nothing without serve = \"redirect\"; set it, or remove this",
    ),
    (
        "[accounts.a]\nprovider = \"openai_compatble\"",
        "longtake.toml: [accounts.a] provider: there is no provider \"openai_compatble\"; did you mean openai_compatible?",
    ),
    (
        "[accounts.a]\nprovider = \"openai_compatible\"\nbase_url = \"127.0.0.1:9700\"",
        "longtake.toml: [accounts.a] base_url: \"127.0.0.1:9700\" is not a URL: relative URL without a base; write one such as https://api.example.com",
    ),
    (
        "[accounts.a]\nprovider = \"openai_compatible\"\napikey = \"x\"",
        "longtake.toml: [accounts.a] apikey: unknown key; did you mean api_key?",
    ),
    ("[accounts]\na = 1", "longtake.toml: [accounts] a: must be a section; write [accounts.a]"),
    (
        "[models.m]\nroutes = [{ account = \"gpu\", model = \"x\" }]\nACCOUNT",
        "longtake.toml: [models.m] routes: there is no account \"gpu\"; did you mean gpus?",
    ),
    (
        "[models.m]\nseconds = [4]",
        "longtake.toml: [models.m] routes: is missing; write routes = [{ account = \"NAME\", model = \"the provider's name for it\" }]",
    ),
    (
        "[models.m]\nroutes = []",
        "longtake.toml: [models.m] routes: must have 1 to 100 routes; write routes = [{ account = \"NAME\", model = \"the provider's name for it\" }]",
    ),
    (
        "[models.m]\nroutes = [{ account = \"gpus\", model = \"x\" }]\nsizes = [\"big\"]\nACCOUNT",
        "longtake.toml: [models.m] sizes: must be a list of sizes such as [\"1280x720\"], and item 1, \"big\", is not a size such as 1280x720",
    ),
    (
        "[webhooks]\nallow_networks = [\"10.0.0.1\", \"10.0.0.0/33\"]",
        "longtake.toml: [webhooks] allow_networks: must be a list of networks such as [\"127.0.0.0/8\"], and item 2, \"10.0.0.0/33\", is not a network such as 127.0.0.0/8",
    ),
    (
        "[inputs]\nallow_networks = \"10.0.0.1\"",
        "longtake.toml: [inputs] allow_networks: must be a list of networks such as [\"127.0.0.0/8\"], not \"10.0.0.1\"",
    ),
    (
        "public_url = \"https://u:hidden@x.com\"",
        "longtake.toml: public_url: must be an https URL without user, query and fragment, such as https://video.example.com; http is taken on a loopback address, not \"https://…@x.com\"",
    ),
    (
        "public_url = \"https:u:hid/den@x.com\"",
        "longtake.toml: public_url: must be an https URL without user, query and fragment, such as https://video.example.com; http is taken on a loopback address, not \"…@x.com\"",
    ),
    (
        "artifacts = \"s3://videos/x\"\n[storage]\nendpoint = \"https://u:hidden@x.com\"",
        "longtake.toml: [storage] endpoint: names a user; put the keys into access_key_id and secret_access_key, and write it without",
    ),
    (
        "artifacts = \"s3://videos/x\"\n[storage]\nendpoint = \"ftp//u:hidden@x.com\"",
        "longtake.toml: [storage] endpoint: \"…@x.com\" is no URL of a service; write one such as https://s3.example.com",
    ),
    (
        "artifacts = \"s3://u:hidden@videos/x\"",
        "longtake.toml: artifacts: \"s3://…@videos/x\" names a user; put keys into [storage], and write s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX",
    ),
    (
        "artifacts = \"https://u:hidden@x.com\"",
        "longtake.toml: artifacts: \"https://…@x.com\" names no store that is known; write file:DIR, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX",
    ),
    (
        "admin_key = 12345678901234567",
        "longtake.toml: admin_key: must be a secret: its text, env:NAME or file:PATH, in quotes",
    ),
    (
        "[accounts.a]\nprovider = \"openai_compatible\"\nbase_url = \"ftp://u:hidden@h/v1\"",
        "longtake.toml: [accounts.a] base_url: \"ftp://…@h/v1\" is no http or https URL; write one such as https://api.example.com",
    ),
    (
        "[models.m]\nroutes = [{ account = \"gpus\", model = \"x\" }]\nprice_usd_per_second = -1\nACCOUNT",
        "longtake.toml: [models.m] price_usd_per_second: must be a number of dollars from 0 to 10000",
    ),
    (
        "[sandbox]\nenabled = false",
        "longtake.toml: [sandbox] enabled: is false and there is no [models.X], so nothing could be made; add a model",
    ),
    (
        "[retention]\njobs = 30",
        "longtake.toml: [retention] jobs: must be a time such as \"30d\" or \"12h\", or \"forever\", not 30",
    ),
    (
        "[retention]\nevents = \"30 days\"",
        "longtake.toml: [retention] events: must be a time such as \"30d\" or \"12h\", or \"forever\", not \"30 days\"",
    ),
    (
        "[retention]\njobs = \"12h\"",
        "longtake.toml: [retention] jobs: 12h is too short: idempotency keys live as long as their videos, and clients rely on them for a day; write at least \"1d\", or \"forever\"",
    ),
    (
        "[retention]\nartifacts = \"59m\"",
        "longtake.toml: [retention] artifacts: 59m is too short: clients that were just told would come too late; write at least \"1h\", or \"forever\"",
    ),
    (
        "[retention]\nevents = \"40000d\"",
        "longtake.toml: [retention] events: 40000d is too long; write at most \"36500d\", or \"forever\"",
    ),
    ("[retention]\nartifact = \"1d\"", "longtake.toml: [retention] artifact: unknown key; did you mean artifacts?"),
    ("[retention.project.a]\njobs = \"1d\"", "longtake.toml: [retention] project: unknown key; did you mean projects?"),
    ("retention = \"30d\"", "longtake.toml: retention: is a section; write [retention] and its settings below"),
    (
        "[retention.projects]\na = \"30d\"",
        "longtake.toml: [retention.projects] a: must be a section; write [retention.projects.a]",
    ),
    (
        "[retention.projects.a]\nevent = \"1d\"",
        "longtake.toml: [retention.projects.a] event: unknown key; did you mean events?",
    ),
    (
        "[retention.projects.a]\nevents = \"1m\"",
        "longtake.toml: [retention.projects.a] events: 1m is too short: clients that were just told would come too late; write at least \"1h\", or \"forever\"",
    ),
    (
        "[retention.projects.\" \"]\nevents = \"1d\"",
        "longtake.toml: [retention.projects]  : a project's name has 1 to 64 characters; write it as its API keys have it",
    ),
    (
        "listen = \"0.0.0.0:7373\"\n[server]\ninsecure_no_auth = true",
        "longtake.toml: [server] insecure_no_auth: is refused on 0.0.0.0:7373, which others can reach; listen on 127.0.0.1, or use keys",
    ),
    (
        "[log]\nlevel = \"loud=loud\"",
        "longtake.toml: [log] level: \"loud=loud\" is no level; write error, warn, info, debug or trace, or pairs such as info,longtake_engine=debug",
    ),
];

#[test]
fn every_mistake_in_a_file_is_one_line_with_file_key_and_remedy() {
    for (file, line) in WRONG_FILES {
        let folder = Folder::new("wrong", &file.replace("ACCOUNT", ACCOUNT));
        let error = folder.load(&[], &[]).expect_err(file).to_string();
        assert_eq!(&error, line, "{file}");
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn every_mistake_in_a_variable_or_flag_names_it() {
    let wrong: &[(&str, &str, &str)] = &[
        (
            "LONGTAKE_WORKER__CONCURRENCY",
            "x",
            "LONGTAKE_WORKER__CONCURRENCY: must be a whole number from 1 to 100000, not \"x\"",
        ),
        (
            "LONGTAKE_WORKER__CONCURENCY",
            "3",
            "LONGTAKE_WORKER__CONCURENCY: there is no such setting; did you mean LONGTAKE_WORKER__CONCURRENCY?",
        ),
        ("LONGTAKE_DATADIR", "x", "LONGTAKE_DATADIR: there is no such setting; did you mean LONGTAKE_DATA_DIR?"),
        (
            "LONGTAKE_ACCOUNTS__GPUS__APIKEY",
            "x",
            "LONGTAKE_ACCOUNTS__GPUS__APIKEY: there is no such setting; did you mean LONGTAKE_ACCOUNTS__GPUS__API_KEY?",
        ),
        (
            "LONGTAKE_RETENTION__JOBS",
            "1h",
            "LONGTAKE_RETENTION__JOBS: 1h is too short: idempotency keys live as long as their videos, and clients rely on them for a day; write at least \"1d\", or \"forever\"",
        ),
        (
            "LONGTAKE_RETENTION__PROJECTS__A__EVENT",
            "1h",
            "LONGTAKE_RETENTION__PROJECTS__A__EVENT: there is no such setting; did you mean LONGTAKE_RETENTION__PROJECTS__A__EVENTS?",
        ),
        (
            "LONGTAKE_ROLE",
            "worker",
            "LONGTAKE_ROLE: SQLite means one process that does everything; api and worker need PostgreSQL, so use all",
        ),
        (
            "LONGTAKE_DATABASE",
            "mysql://x",
            "LONGTAKE_DATABASE: names no database that is known; write sqlite:PATH or postgres://USER@HOST/NAME",
        ),
    ];
    let folder = Folder::new("variables", ACCOUNT);
    for (name, value, line) in wrong {
        assert_eq!(&folder.load(&[(name, value)], &[]).expect_err(name).to_string(), line);
    }
    let error = folder.load(&[], &[("--role", &["role"], "api")]).unwrap_err().to_string();
    assert_eq!(
        error,
        "--role: SQLite means one process that does everything; api and worker need PostgreSQL, so use all"
    );
    let error = folder.load(&[], &[("--listen", &["listen"], "here")]).unwrap_err().to_string();
    assert_eq!(error, "--listen: must be an address and port such as 127.0.0.1:7373, not \"here\"");
    let named = Sources { file: Some("no.toml".into()), folder: folder.0.clone(), ..Sources::default() };
    let error = Config::load(named).unwrap_err().to_string();
    assert_eq!(error, "no.toml: there is no such file; check --config or LONGTAKE_CONFIG");
}

#[test]
fn later_layers_win_and_names_of_accounts_are_found() {
    let file = "[accounts.our-gpus]\nprovider = \"openai_compatible\"\nbase_url = \"http://h/v1\"\n[worker]\nconcurrency = 2\nttl_secs = 20\n";
    let folder = Folder::new("layers", file);
    let config = folder
        .load(
            &[
                ("LONGTAKE_WORKER__CONCURRENCY", "3"),
                ("LONGTAKE_ACCOUNTS__OUR_GPUS__API_KEY", "123456"),
                ("LONGTAKE_ACCOUNTS__OUR_GPUS__MAX_IN_FLIGHT", "7"),
                ("LONGTAKE_MODELS__FAST__ROUTES", "[{ account = \"our-gpus\", model = \"wan\" }]"),
                ("LONGTAKE_INPUTS__ALLOW_NETWORKS", "[\"127.0.0.0/8\"]"),
                ("LONGTAKE_DATABASE__POOL_SIZE", "3"),
                ("LONGTAKE_DATA_DIR", "from-variable"),
                ("LONGTAKE_FAILPOINT", "C1"),
                ("LONGTAKE_LISTEN", ""),
                ("LONGTAKE_URL", "http://elsewhere"),
                ("LONGTAKE_API_KEY", "lt_x"),
                ("OTHER", "ignored"),
            ],
            &[("--data-dir", &["data_dir"], "from-flag")],
        )
        .unwrap();
    assert_eq!((config.worker.concurrency, config.worker.ttl_secs), (3, 20));
    assert_eq!(config.general.data_dir, Path::new("from-flag"));
    assert_eq!(config.general.listen, ([127, 0, 0, 1], 7373).into());
    assert_eq!(config.accounts.len(), 1);
    assert!(config.accounts[0].api_key.is_some() && config.accounts[0].max_in_flight == Some(7));
    assert_eq!((config.models[0].name.as_str(), config.default_model()), ("fast", "fast"));
    assert_eq!(config.inputs.allow_networks.len(), 1);
    assert_eq!((config.server_url.as_deref(), config.api_key.as_deref()), (Some("http://elsewhere"), Some("lt_x")));
    assert!(!format!("{config:?}").contains("\"123456\"), API_KEY"), "a secret does not print itself");
}

#[test]
fn the_default_model_is_the_first_of_the_file() {
    let file = format!(
        "{ACCOUNT}[models.zebra]\nroutes = [{{ account = \"gpus\", model = \"z\" }}]\n[models.ant]\nroutes = [{{ account = \"gpus\", model = \"a\" }}]\n"
    );
    assert_eq!(Folder::new("order", &file).load(&[], &[]).unwrap().default_model(), "zebra");
    assert_eq!(Folder::new("empty", "").load(&[], &[]).unwrap().default_model(), "sandbox");
}

#[test]
fn secrets_come_from_the_environment_or_from_files() {
    use std::os::unix::fs::PermissionsExt;

    use secrecy::ExposeSecret;
    let file = "[accounts.a]\nprovider = \"openai_compatible\"\nbase_url = \"http://h/v1\"\napi_key = \"KEY\"\n";
    let read = |key: &str, variable: Option<&str>| {
        let folder = Folder::new("secret", &file.replace("KEY", key));
        std::fs::write(folder.0.join("open.key"), "from-file\n").unwrap();
        std::fs::write(folder.0.join("empty.key"), "\n").unwrap();
        std::fs::set_permissions(folder.0.join("open.key"), std::fs::Permissions::from_mode(0o644)).unwrap();
        let config = folder.load(&[], &[]).unwrap();
        let secret = config.accounts[0].api_key.clone().unwrap();
        let read = secret.read(&config.secrets_folder(), |_| variable.map(str::to_owned));
        read.map(|read| (read.secret.expose_secret().to_owned(), read.warning.is_some()))
            .map_err(|error| error.replace(&folder.0.display().to_string(), "DIR"))
    };
    assert_eq!(read("plain", None), Ok(("plain".to_owned(), false)));
    assert_eq!(read("env:NAME", Some("there")), Ok(("there".to_owned(), false)));
    assert_eq!(read("file:open.key", None), Ok(("from-file".to_owned(), true)), "others can read it");
    let missing = "the environment variable NAME is not set; set it, or use file:PATH";
    assert_eq!(read("env:NAME", None), Err(missing.to_owned()));
    let missing = "there is no file DIR/no.key; write the secret into it, or use env:NAME";
    assert_eq!(read("file:no.key", None), Err(missing.to_owned()));
    assert_eq!(read("file:empty.key", None), Err("DIR/empty.key is empty; write the secret into it".to_owned()));
}

#[test]
fn an_address_is_a_network_of_one() {
    let file = "[webhooks]\nallow_networks = [\"127.0.0.1\", \"fd00::1\", \"::ffff:10.0.0.1\", \"10.1.0.0/16\"]";
    let config = Folder::new("networks", file).load(&[], &[]).unwrap();
    let admits = |address: &str| {
        let address = address.parse().unwrap();
        config.webhooks.allow_networks.iter().any(|network| network.contains(address))
    };
    for address in ["127.0.0.1", "::ffff:127.0.0.1", "fd00::1", "10.0.0.1", "10.1.2.3"] {
        assert!(admits(address), "{address}");
    }
    for address in ["127.0.0.2", "fd00::2", "10.0.0.2", "::1"] {
        assert!(!admits(address), "{address}");
    }
}

#[test]
fn a_project_keeps_what_it_does_not_say_as_the_others_do() {
    let file = "[retention]\njobs = \"90d\"\nevents = \"2w\"\n[retention.projects.Our-Trailers]\nartifacts = \"36h\"\n";
    let folder = Folder::new("retention", file);
    let config = folder
        .load(
            &[
                ("LONGTAKE_RETENTION__EVENTS", "3w"),
                ("LONGTAKE_RETENTION__PROJECTS__OUR_TRAILERS__JOBS", "forever"),
                ("LONGTAKE_RETENTION__PROJECTS__OTHER__EVENTS", "1d"),
            ],
            &[],
        )
        .unwrap();
    let days = |days: u64| Some(std::time::Duration::from_secs(days * 86_400));
    let default = Keep { jobs: days(90), events: days(21), artifacts: None };
    assert_eq!(config.retention.keep(), default);
    let [trailers, other] = config.project_retention.as_slice() else { panic!("{:?}", config.project_retention) };
    assert_eq!((trailers.name.as_str(), other.name.as_str()), ("Our-Trailers", "other"));
    let hours = Some(std::time::Duration::from_secs(36 * 3_600));
    assert_eq!(trailers.over(&config.retention), Keep { jobs: None, events: days(21), artifacts: hours });
    assert_eq!(other.over(&config.retention), Keep { events: days(1), ..default });
    assert_eq!(Config::default().retention.keep(), Keep::default(), "for ever, unless someone says otherwise");
}

#[test]
fn the_defaults_are_those_of_the_parts() {
    let config = Config::default();
    assert_eq!(config.http_limits(), Limits::default());
    let (ours, theirs) = (config.engine(), longtake_engine::EngineConfig::default());
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    assert_eq!(config.general.role, Role::All);
}

#[test]
fn the_example_is_all_defaults() {
    let example = Folder::new("example", &document::example()).load(&[], &[]).unwrap();
    let default = Folder::new("defaults", "").load(&[], &[]).unwrap();
    assert_eq!(example.general, default.general);
    assert_eq!(example.database, default.database);
    assert_eq!(example.storage, default.storage);
    assert_eq!(example.server, default.server);
    assert_eq!(example.worker, default.worker);
    assert_eq!(example.retry, default.retry);
    assert_eq!(example.sandbox, default.sandbox);
    assert_eq!(example.limits, default.limits);
    assert_eq!(example.retention, default.retention);
    assert_eq!(example.inputs, default.inputs);
    assert_eq!(example.webhooks, default.webhooks);
    assert_eq!(example.log, default.log);
    assert!(example.accounts.is_empty() && example.models.is_empty());
    // What is commented out must be right too, once someone takes the comment away.
    let lines = document::example();
    let taken = lines.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest) if rest.starts_with('[') || rest.split_once(" = ").is_some_and(|(key, _)| is_key(key)) => rest,
        _ => line,
    });
    let taken: Vec<&str> = taken.collect();
    let others = [("LONGTAKE_WORKER__TTL_SECS", "30"), ("LONGTAKE_STORAGE__SERVE", "redirect")];
    let config = Folder::new("uncommented", &taken.join("\n")).load(&others, &[]).unwrap();
    assert_eq!((config.accounts.len(), config.models.len(), config.project_retention.len()), (1, 1, 1));
}

fn is_key(text: &str) -> bool {
    !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

#[test]
fn the_documents_are_the_current_ones() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    for (path, text) in
        [("docs/configuration.md", document::reference()), ("longtake.example.toml", document::example())]
    {
        let path = root.join(path);
        if std::env::var_os("LONGTAKE_TEST_WRITE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(committed == text, "{} is old: LONGTAKE_TEST_WRITE=1 cargo test -p longtake config", path.display());
    }
}
