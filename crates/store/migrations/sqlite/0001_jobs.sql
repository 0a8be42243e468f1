-- Jobs, their attempts, events and outputs. Times and durations are integer microseconds; numbers of states, kinds and
-- codes are those of longtake-core. The database refuses what the types refuse.

CREATE TABLE job (
    id                BLOB    NOT NULL PRIMARY KEY CHECK (length(id) = 16),  -- UUIDv7: sorts by age
    project           INTEGER NOT NULL,
    model             TEXT    NOT NULL,               -- the public one; it chooses the routes
    state             INTEGER NOT NULL CHECK (state = 10 OR state = 20 OR state = 25 OR state = 27 OR state = 30 OR state = 40
                              OR state = 90 OR state = 91 OR state = 92), -- not IN: that builds a table at each insert
    ver               INTEGER NOT NULL CHECK (ver >= 1),
    code              TEXT,                           -- of the failure
    message           TEXT,
    created_at        INTEGER NOT NULL,
    finished_at       INTEGER,
    deadline_us       INTEGER,                        -- how long the client gave it
    deadline_at       INTEGER,
    cancel_at         INTEGER,
    cancel_outcome    INTEGER CHECK (cancel_outcome BETWEEN 0 AND 4),
    priority          INTEGER NOT NULL,
    progress          INTEGER CHECK (progress BETWEEN 0 AND 100),
    first_attempt     INTEGER NOT NULL DEFAULT 1,
    attempts_used     INTEGER NOT NULL DEFAULT 0,
    unavailable_since INTEGER,
    hidden_at         INTEGER,
    fence_floor       INTEGER NOT NULL DEFAULT 0,     -- highest fence of its deleted work rows: new ones start there
    CHECK ((state = 91) = (code IS NOT NULL)),
    CHECK ((code IS NULL) = (message IS NULL)),
    CHECK ((state >= 90) = (finished_at IS NOT NULL)),
    CHECK ((cancel_at IS NULL) = (cancel_outcome IS NULL)),
    CHECK ((deadline_us IS NULL) = (deadline_at IS NULL)),
    CHECK (hidden_at IS NULL OR state >= 90)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_listed ON job (project, id) WHERE hidden_at IS NULL;
CREATE INDEX job_durations ON job (model, finished_at, id) WHERE state = 90;

-- The unchanging half of a job.
CREATE TABLE job_req (
    job       BLOB NOT NULL PRIMARY KEY,
    metadata  TEXT CHECK (metadata IS NULL OR json_valid(metadata)),  -- the client's own pairs; null where there are none
    input_key TEXT,                                                   -- of the input image in the artifact store
    req       BLOB NOT NULL                                           -- JSON of the rest, read and written by rows.rs only
) STRICT, WITHOUT ROWID;
CREATE INDEX job_req_input ON job_req (input_key) WHERE input_key IS NOT NULL;

-- What remains to be done. A row exists only as long.
CREATE TABLE work (
    job    BLOB    NOT NULL,
    kind   INTEGER NOT NULL CHECK (kind = 0 OR kind = 1 OR kind = 2),  -- 0 drive job, 1 deliver webhook (not yet used), 2 watch late attempt
    ref    INTEGER NOT NULL DEFAULT 0,                  -- the attempt watched; 0 for kind 0
    lane   INTEGER NOT NULL DEFAULT 0 CHECK (lane = 0 OR lane = 1),  -- 0 jobs, 1 webhooks
    due_at INTEGER NOT NULL,                            -- unowned: earliest time; owned: the largest integer unless woken
    owner  INTEGER,                                     -- executor
    fence  INTEGER NOT NULL DEFAULT 0,                  -- grows with each acquire and at each restart
    tries  INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (job, kind, ref)
) STRICT, WITHOUT ROWID;
CREATE INDEX work_due ON work (lane, due_at) WHERE owner IS NULL;
CREATE INDEX work_owned ON work (owner, due_at) WHERE owner IS NOT NULL;

-- Incarnations of this process. The newest that this process began, and those it began before it, are alive.
CREATE TABLE executor (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,
    host       TEXT    NOT NULL,
    pid        INTEGER NOT NULL,
    ttl_us     INTEGER NOT NULL,
    started_at INTEGER NOT NULL
) STRICT;

-- The ledger of paid submissions.
CREATE TABLE attempt (
    job              BLOB    NOT NULL,
    n                INTEGER NOT NULL CHECK (n >= 1),
    state            INTEGER NOT NULL CHECK (state BETWEEN 1 AND 8),
    executor         INTEGER NOT NULL,
    nonce            INTEGER NOT NULL,
    account          INTEGER NOT NULL,
    model            TEXT    NOT NULL,               -- the provider's name for it
    client_ref       TEXT    NOT NULL,
    provider_job     TEXT,
    intent_at        INTEGER NOT NULL,
    send_deadline_at INTEGER NOT NULL,
    resolved_at      INTEGER,
    reject_code      TEXT,
    reject_message   TEXT,
    reject_retry     INTEGER CHECK (reject_retry BETWEEN 0 AND 3),
    reject_after_us  INTEGER,
    verdict          INTEGER CHECK (verdict BETWEEN 1 AND 3),
    decided_by       TEXT,
    PRIMARY KEY (job, n),
    CHECK ((state IN (2, 5, 7, 8)) = (provider_job IS NOT NULL)),
    CHECK ((reject_code IS NULL) = (reject_retry IS NULL) AND (reject_code IS NULL) = (reject_message IS NULL)),
    CHECK ((verdict IS NULL) = (decided_by IS NULL))
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX attempt_one_open ON attempt (job) WHERE state IN (1, 2, 4);
CREATE INDEX attempt_in_flight ON attempt (account) WHERE state IN (1, 2, 4, 6, 7);
CREATE UNIQUE INDEX attempt_provider_job ON attempt (account, provider_job) WHERE provider_job IS NOT NULL;

-- Facts, in the order of their commits.
CREATE TABLE event (
    seq     INTEGER PRIMARY KEY AUTOINCREMENT,
    job     BLOB    NOT NULL,
    ver     INTEGER NOT NULL CHECK (ver >= 1),
    project INTEGER NOT NULL,
    type    INTEGER NOT NULL CHECK (type BETWEEN 1 AND 12),
    at      INTEGER NOT NULL,
    body    TEXT    NOT NULL,                        -- JSON of the snapshot, read and written by rows.rs only
    UNIQUE (job, ver)
) STRICT;

-- What clients' keys stand for.
CREATE TABLE idem (
    project INTEGER NOT NULL,
    key     TEXT    NOT NULL,
    fp      BLOB    NOT NULL CHECK (length(fp) = 32),
    job     BLOB    NOT NULL,
    at      INTEGER NOT NULL,
    PRIMARY KEY (project, key)
) STRICT, WITHOUT ROWID;

-- Stored outputs. An object that no row names is swept.
CREATE TABLE artifact (
    job         BLOB    NOT NULL,
    attempt     INTEGER NOT NULL,
    n           INTEGER NOT NULL,                    -- 0 is the video
    key         TEXT    NOT NULL,
    bytes       INTEGER NOT NULL CHECK (bytes >= 0),
    sha256      BLOB    NOT NULL CHECK (length(sha256) = 32),
    media_type  TEXT    NOT NULL,
    width       INTEGER NOT NULL,
    height      INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,
    frames      INTEGER NOT NULL,
    codec       TEXT    NOT NULL,
    PRIMARY KEY (job, attempt, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX artifact_key ON artifact (key);

-- Provider jobs that no attempt accounts for.
CREATE TABLE orphan (
    id           INTEGER PRIMARY KEY,
    account      INTEGER NOT NULL,
    provider_job TEXT    NOT NULL,
    job          BLOB    NOT NULL,                   -- through which it was found
    n            INTEGER NOT NULL,
    at           INTEGER NOT NULL,
    UNIQUE (account, provider_job)
) STRICT;

-- The flight recorder: the newest exchanges of each job.
CREATE TABLE exchange (
    id          INTEGER PRIMARY KEY,
    job         BLOB    NOT NULL,
    n           INTEGER NOT NULL,
    call        TEXT    NOT NULL,                    -- submit, find, poll, fetch, cancel
    at          INTEGER NOT NULL,
    request     TEXT    NOT NULL,
    status      INTEGER,
    duration_ms INTEGER NOT NULL,
    answer      TEXT    NOT NULL
) STRICT;
CREATE INDEX exchange_job ON exchange (job, id);

CREATE TABLE account (
    id       INTEGER PRIMARY KEY,
    name     TEXT NOT NULL,
    provider TEXT NOT NULL,
    UNIQUE (name, provider)
) STRICT;

CREATE TABLE project (
    id   INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
INSERT INTO project (id, name) VALUES (1, 'default');

CREATE TABLE api_key (
    id         INTEGER PRIMARY KEY,
    name       TEXT    NOT NULL,
    project    INTEGER NOT NULL,
    hash       BLOB    NOT NULL UNIQUE CHECK (length(hash) = 32),
    scopes     TEXT    NOT NULL CHECK (json_valid(scopes)),
    created_at INTEGER NOT NULL,
    revoked_at INTEGER
) STRICT;

CREATE TABLE meta (
    key   TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) STRICT, WITHOUT ROWID;
