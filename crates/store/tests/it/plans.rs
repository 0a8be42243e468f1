//! Plans of PostgreSQL that were made while a queue, an owner or an endpoint seemed to have nothing: they must not read it
//! whole later.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use longtake_core::store::NewJob;
use longtake_core::webhook::EventTypes;
use longtake_store::PostgresTuning;
use longtake_testing::postgres::TestDatabase;
use longtake_testing::wait_until;
use tokio_postgres::{AsyncMessage, Client, NoTls};

use crate::given::{Given, HandClock, PROJECT, options};
use crate::webhooks::new_endpoint;

const JOBS: usize = 400;
/// Calls after which PostgreSQL may keep a plan for all values.
const KEPT_AFTER: usize = 8;
/// As a session of the store, with each plan told, those within functions too.
const SETTINGS: &str = "load 'auto_explain'; set auto_explain.log_min_duration = 0;
    set auto_explain.log_nested_statements = on; set client_min_messages = log;
    set enable_seqscan = off; set enable_hashjoin = off; set enable_mergejoin = off; set jit = off";
/// The last statement whose plan is told; plans come in order.
const END: &str = "select 'all plans are told'";

/// A session that tells the plans of what it runs.
struct Explained {
    client: Client,
    told: Arc<Mutex<Vec<String>>>,
}

impl Explained {
    async fn connect(url: &str) -> Self {
        let (client, mut connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
        let told = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&told);
        tokio::spawn(async move {
            while let Some(Ok(message)) = std::future::poll_fn(|cx| connection.poll_message(cx)).await {
                if let AsyncMessage::Notice(notice) = message {
                    heard.lock().unwrap().push(notice.message().to_owned());
                }
            }
        });
        client.batch_execute(SETTINGS).await.unwrap();
        Self { client, told }
    }

    async fn plans_of(&self, sql: &str) -> Vec<String> {
        self.told.lock().unwrap().clear();
        self.client.batch_execute(sql).await.unwrap();
        self.client.batch_execute(END).await.unwrap();
        let is_end = |plan: &String| plan.contains(END);
        wait_until("the plans are told", Duration::from_secs(30), async || {
            self.told.lock().unwrap().iter().any(is_end)
        })
        .await;
        let plans: Vec<String> = self.told.lock().unwrap().drain(..).take_while(|plan| !is_end(plan)).collect();
        assert!(!plans.is_empty());
        plans
    }
}

fn query(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/postgres/queries/{name}.sql"));
    std::fs::read_to_string(file).unwrap().trim_end().trim_end_matches(';').to_owned()
}

/// An index of work rows that is gone through without a condition is read from end to end.
fn assert_searched(plans: &[String]) {
    let mut searched = 0;
    for plan in plans {
        let lines: Vec<&str> = plan.lines().collect();
        for (at, line) in lines.iter().enumerate() {
            if line.contains("using work_") || line.contains("Index Scan on work_") {
                let next = lines.get(at + 1).unwrap_or(&"");
                assert!(next.contains("Index Cond"), "not searched by a key:\n{plan}");
                searched += 1;
            }
            assert!(!line.contains("Seq Scan on work"), "{plan}");
        }
    }
    assert!(searched > 0, "{plans:#?}");
}

#[tokio::test]
async fn no_plan_reads_a_whole_queue_or_all_that_an_owner_has() {
    let database = TestDatabase::create();
    let clock = Arc::new(HandClock::new());
    let tuning = PostgresTuning { injected_clock: true, connections: 2, ..PostgresTuning::default() };
    let store = longtake_store::connect(&database.url(), options(clock.clone()), tuning).await.unwrap();
    let given = Given::new(store, clock);
    let [pool] = given.pools(["m"]).await;
    let executor = given.executor().await;
    let jobs = (0..JOBS).map(|_| NewJob { pool, ..given.new_job() }).collect();
    assert_eq!(given.store.create(jobs).await.unwrap().len(), JOBS);
    let session = Explained::connect(&database.url()).await;
    let run = async |sql: &str| session.client.batch_execute(sql).await.unwrap();

    let (executor, pool) = (executor.0, pool.0);
    let take = format!("select * from take_queued({executor}, 10, '{{1}}', '{{10}}', '{{{pool}}}', '{{1}}', '{{10}}')");

    // What the planner knows: hardly anything waits, and nobody owns anything. Plans of functions are kept from then on.
    run("set auto_explain.log_min_duration = -1; update work set queued = false").await;
    run("vacuum analyze work").await;
    run("update work set queued = true where job in (select job from work order by job limit 12)").await;
    for _ in 0..KEPT_AFTER {
        run(&format!("begin; {take}; rollback")).await;
    }
    run("update work set queued = true; set auto_explain.log_min_duration = 0").await;
    let look = format!(
        "prepare look as {}; execute look (null, {executor}, '{{{pool}}}', '{{0}}', '{{{pool}}}')",
        query("acquire_look")
    );
    assert_searched(&session.plans_of(&look).await);
    assert_searched(&session.plans_of(&take).await);

    run(&format!(
        "set auto_explain.log_min_duration = -1; update work set owner = {executor}, queued = false, fence = 1;
         set auto_explain.log_min_duration = 0"
    ))
    .await;
    let two = session.client.query_one("select array_agg(job)::text from (select job from work limit 2) j", &[]).await;
    let two: String = two.unwrap().get(0);
    let claims =
        format!("prepare claims as {}; execute claims ('{two}', '{{0,0}}', '{{0,0}}', {executor})", query("claims"));
    assert_searched(&session.plans_of(&claims).await);
    let release = format!(
        "prepare release as {}; execute release ({executor}, '{two}', '{{0,0}}', '{{0,0}}', '{{1,1}}', '{{1,1}}', '{{0,0}}', '{{f,f}}')",
        query("release")
    );
    assert_searched(&session.plans_of(&release).await);
    let released = session.client.query_one("select count(*) from work where owner is null", &[]).await.unwrap();
    assert_eq!(released.get::<_, i64>(0), 2);
}

/// Most rows that any step of a plan may touch where tens of thousands are there.
const MOST_ROWS: f64 = 600.0;

/// No step of what was run gave, filtered or repeated more than a few rows.
fn assert_little(plans: &[String]) {
    let mut steps = 0;
    for plan in plans {
        for key in
            ["(actual rows=", "loops=", "Rows Removed by Filter: ", "Rows Removed by Join Filter: ", "Heap Fetches: "]
        {
            for rest in plan.split(key).skip(1) {
                let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
                let number: f64 = rest[..end].parse().unwrap();
                assert!(number <= MOST_ROWS, "{key}{number} in\n{plan}");
                steps += 1;
            }
        }
    }
    assert!(steps > 0, "{plans:#?}");
}

#[tokio::test]
async fn no_plan_reads_all_that_waits_at_a_dead_endpoint_or_all_endpoints() {
    let database = TestDatabase::create();
    let tuning = PostgresTuning { connections: 2, ..PostgresTuning::default() };
    let store = longtake_store::connect(&database.url(), options(Arc::new(HandClock::new())), tuning).await.unwrap();
    let mut endpoints = Vec::new();
    for _ in 0..2 {
        endpoints.push(store.create_endpoint(new_endpoint(PROJECT, EventTypes::ALL)).await.unwrap().unwrap().id.0);
    }
    let (dead, well) = (endpoints[0], endpoints[1]);
    let session = Explained::connect(&database.url()).await;
    let run = async |sql: &str| session.client.batch_execute(sql).await.unwrap();
    run(&format!(
        "set auto_explain.log_min_duration = -1; set auto_explain.log_analyze = on; set auto_explain.log_timing = off;
         analyze delivery; analyze endpoint; prepare take as {}; prepare next as {}; prepare tell as {}; prepare load as {};
         prepare save as {}; prepare replay as {}; prepare own as {}; prepare forget as {}",
        query("take_deliveries"),
        query("delivery_next"),
        query("event_insert"),
        query("deliveries_lock"),
        query("deliveries_save"),
        query("replay_save"),
        query("job_deliveries"),
        query("endpoints_forget")
    ))
    .await;
    let take = "execute take (null, 64, 10, '{}', 30000000, 5, 10000, 259200000000)";
    let tell = "execute tell (array[gen_random_uuid(), gen_random_uuid()], '{1,1}', '{1,1}', '{1,1}',
                              array[now_us(), now_us()], '{x,x}')";
    let load = "execute load ('{1,2}', null)";
    let own = "execute own ('00000000-0000-0000-0000-000000000001', 9223372036854775807, 21)";
    let forget = "execute forget (100)";
    let save = format!(
        "execute save ('{{1,2}}', '{{1,1}}', '{{1,1}}', '{{1,1}}', '{{{dead}}}', '{{1}}', '{{9}}', '{{0}}',
                       '{{1}}', array[nextval('event_seq')], '{{1}}', '{{200}}', '{{1}}', '{{x}}', 20)"
    );
    let replay =
        |jobs: &str, times: &str| format!("execute replay ({dead}, '{jobs}', '{{1,1}}', '{{1,1}}', '{times}', null)");
    let nothing = replay("{00000000-0000-0000-0000-000000000000,00000000-0000-0000-0000-000000000001}", "{0,0}");
    for _ in 0..KEPT_AFTER {
        run(&format!("begin; {take}; execute next; {tell}; {load}; {save}; {nothing}; {own}; {forget}; rollback"))
            .await;
    }
    let fill = |endpoint: i64, rows: usize| {
        format!(
            "insert into delivery (endpoint, job, ver, type, at, state, due_at, tries, begun_at)
             select {endpoint}, gen_random_uuid(), 1, 1, now_us(), 1, now_us() - n, 0, now_us()
             from generate_series(1, {rows}) n"
        )
    };
    run(&fill(dead, 50_000)).await;
    run(&fill(well, 20)).await;
    run("insert into endpoint (project, url, origin, types, description, status, salts, created_at)
         select 2 + n % 50, 'https://h', '', 2147483647, '', 1, '[]', 0 from generate_series(1, 5000) n")
    .await;
    run(&format!("update endpoint set failures = 9, open_until = now_us() + 3600000000 where id = {dead}")).await;
    let mut taken = Vec::new();
    for change in ["", "open_until = 0", "failures = 0", "status = 2", "status = 1, failures = 9"] {
        if !change.is_empty() {
            run(&format!("update endpoint set {change} where id = {dead}")).await;
        }
        let due = "due_at > now_us() and endpoint";
        let count = |endpoint| format!("select count(*) from delivery where {due} = {endpoint}");
        for (statement, end) in
            [(take, "commit"), (tell, "commit"), ("execute next", "rollback"), (load, "rollback"), (own, "rollback")]
        {
            run("begin; set local auto_explain.log_min_duration = 0").await;
            assert_little(&session.plans_of(statement).await);
            run(end).await;
        }
        let events = "select array_agg(job)::text, array_agg(at)::text from (select job, at from event limit 2) e";
        let events = session.client.query_one(events, &[]).await.unwrap();
        for statement in [save.clone(), replay(events.get(0), events.get(1))] {
            run("begin; set local auto_explain.log_min_duration = 0").await;
            assert_little(&session.plans_of(&statement).await);
            run("rollback").await;
        }
        let of = async |endpoint| -> i64 { session.client.query_one(&count(endpoint), &[]).await.unwrap().get(0) };
        taken.push((of(dead).await, of(well).await));
    }
    // An endpoint that is gone is looked at, what waits at it is not.
    run("update endpoint set status = 4 where id > 4000").await;
    run("begin; set local auto_explain.log_min_duration = 0").await;
    let plans = session.plans_of(forget).await;
    run("rollback").await;
    assert!(plans.iter().any(|plan| plan.contains("using delivery_log on delivery")), "{plans:#?}");
    // With two new ones at each round.
    assert_eq!(taken[..3], [(0, 10), (1, 20), (11, 24)], "alone, one at a time, as many as others");
    let ended = session.client.query_one("select count(*) from delivery where state = 4", &[]).await.unwrap();
    assert_eq!(ended.get::<_, i64>(0), 64);
}
