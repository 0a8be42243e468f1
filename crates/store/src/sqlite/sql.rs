//! The query files, by name. A test prepares every one of them.

macro_rules! queries {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) const $name: &str = include_str!(concat!("queries/", $file, ".sql"));)*
    };
}

queries! {
    ACCOUNT_GET = "account_get";
    ACCOUNT_INSERT = "account_insert";
    ARTIFACT_INSERT = "artifact_insert";
    ARTIFACTS_DELETE = "artifacts_delete";
    ATTEMPT_GET = "attempt_get";
    ATTEMPT_INSERT = "attempt_insert";
    ATTEMPT_UPDATE = "attempt_update";
    ATTEMPTS = "attempts";
    CLAIM = "claim";
    CLAIMED = "claimed";
    DRIVE_OWNER = "drive_owner";
    DUE = "due";
    DURATIONS = "durations";
    EVENT_INSERT = "event_insert";
    EVENTS_AFTER = "events_after";
    EVENTS_NEWEST = "events_newest";
    EXCHANGE_INSERT = "exchange_insert";
    EXCHANGE_TRIM = "exchange_trim";
    EXCHANGES = "exchanges";
    EXECUTOR_EXISTS = "executor_exists";
    EXECUTOR_INSERT = "executor_insert";
    EXECUTOR_LAST = "executor_last";
    EXECUTORS = "executors";
    EXECUTORS_ALIVE = "executors_alive";
    EXECUTORS_DEAD = "executors_dead";
    EXECUTORS_FORGET = "executors_forget";
    FEED_END = "feed_end";
    FEED_LAST = "feed_last";
    FEED_PAGE = "feed_page";
    FLOOR_RAISE = "floor_raise";
    IDEM_GET = "idem_get";
    IDEM_INSERT = "idem_insert";
    IN_DOUBT = "in_doubt";
    IN_FLIGHT = "in_flight";
    IN_FLIGHT_POOL = "in_flight_pool";
    JOB_EXISTS = "job_exists";
    JOB_HIDE = "job_hide";
    JOB_INSERT = "job_insert";
    JOB_UPDATE = "job_update";
    KEY_FIND = "key_find";
    KEY_INSERT = "key_insert";
    KEY_REVOKE = "key_revoke";
    KEYS = "keys";
    LIST_ASC = "list_asc";
    LIST_DESC = "list_desc";
    LIST_END_ASC = "list_end_asc";
    LIST_END_DESC = "list_end_desc";
    META_GET = "meta_get";
    META_SET = "meta_set";
    ORPHAN_INSERT = "orphan_insert";
    OUTPUT = "output";
    OWNED = "owned";
    OWNED_BY_THE_DEAD = "owned_by_the_dead";
    PACE_GET = "pace_get";
    PACE_SET = "pace_set";
    POOL_GET = "pool_get";
    POOL_INSERT = "pool_insert";
    POOL_NAME = "pool_name";
    PROJECT_GET = "project_get";
    PROJECT_INSERT = "project_insert";
    PROJECT_OF = "project_of";
    QUEUE_AFTER = "queue_after";
    QUEUE_FIRST = "queue_first";
    RECORD = "record";
    REFERENCED = "referenced";
    RELEASE = "release";
    REQUEST_GET = "request_get";
    REQUEST_INSERT = "request_insert";
    STATS_LIVE = "stats_live";
    STATS_REST = "stats_rest";
    STRAYS = "strays";
    TAKE = "take";
    TAKE_FROM_THE_DEAD = "take_from_the_dead";
    TURN_GET = "turn_get";
    TURN_SET = "turn_set";
    WAKE = "wake";
    WATCH_INSERT = "watch_insert";
    WATCHES_DELETE = "watches_delete";
    WOKEN = "woken";
    WOKEN_ANY = "woken_any";
    WOKEN_TOLD = "woken_told";
    WORK_DELETE = "work_delete";
    WORK_INSERT = "work_insert";
}
