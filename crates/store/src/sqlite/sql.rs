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
    EXECUTOR_INSERT = "executor_insert";
    EXECUTOR_LAST = "executor_last";
    EXECUTORS_FORGET = "executors_forget";
    FLOOR_RAISE = "floor_raise";
    IDEM_GET = "idem_get";
    IDEM_INSERT = "idem_insert";
    IN_DOUBT = "in_doubt";
    IN_FLIGHT = "in_flight";
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
    NEXT_DUE = "next_due";
    ORPHAN_INSERT = "orphan_insert";
    OUTPUT = "output";
    OWNED = "owned";
    OWNED_BY_THE_DEAD = "owned_by_the_dead";
    PROJECT_GET = "project_get";
    PROJECT_INSERT = "project_insert";
    PROJECT_OF = "project_of";
    RECORD = "record";
    REFERENCED = "referenced";
    RELEASE = "release";
    REQUEST_GET = "request_get";
    REQUEST_INSERT = "request_insert";
    STATS_LIVE = "stats_live";
    STATS_REST = "stats_rest";
    TAKE = "take";
    TAKE_FROM_THE_DEAD = "take_from_the_dead";
    WAKE = "wake";
    WATCH_INSERT = "watch_insert";
    WATCHES_DELETE = "watches_delete";
    WOKEN = "woken";
    WOKEN_ANY = "woken_any";
    WOKEN_TOLD = "woken_told";
    WORK_DELETE = "work_delete";
    WORK_INSERT = "work_insert";
}
