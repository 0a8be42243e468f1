-- Outgoing webhooks: who is told of events, what is still to be told, and what became of the tries.

-- Who is told. Those of clients have a URL; the others stand for all webhook_urls of videos with one origin.
CREATE TABLE endpoint (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    project     INTEGER NOT NULL,
    url         TEXT,
    origin      TEXT    NOT NULL,
    types       INTEGER NOT NULL,                    -- bit N is the event type with number N
    description TEXT    NOT NULL,
    status      INTEGER NOT NULL CHECK (status BETWEEN 1 AND 4),
    salts       TEXT    NOT NULL,                    -- JSON of what secrets are made from, read and written by rows/webhooks.rs only
    created_at  INTEGER NOT NULL,
    failures    INTEGER NOT NULL DEFAULT 0,          -- tries that failed since the last that did not
    open_until  INTEGER NOT NULL DEFAULT 0           -- nothing is tried before then
) STRICT;
CREATE INDEX endpoint_own ON endpoint (project) WHERE url IS NOT NULL AND status <> 4;
CREATE UNIQUE INDEX endpoint_origin ON endpoint (project, origin) WHERE url IS NULL;

-- One event for one endpoint. `due_at` is null unless it is pending, so that delivery_due holds nothing else.
CREATE TABLE delivery (
    id       INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint INTEGER NOT NULL,
    job      BLOB    NOT NULL,
    ver      INTEGER NOT NULL,
    type     INTEGER NOT NULL,                       -- of the event
    at       INTEGER NOT NULL,                       -- of the event
    state    INTEGER NOT NULL CHECK (state BETWEEN 1 AND 4),
    due_at   INTEGER,                                -- earliest time of the next try; while it is tried, the end of the lease
    tries    INTEGER NOT NULL,
    begun_at INTEGER NOT NULL,
    UNIQUE (job, endpoint, ver),
    CHECK ((state = 1) = (due_at IS NOT NULL))
) STRICT;
CREATE INDEX delivery_due ON delivery (endpoint, due_at) WHERE due_at IS NOT NULL;
CREATE INDEX delivery_log ON delivery (endpoint);

-- The newest tries of each delivery.
CREATE TABLE delivery_try (
    delivery    INTEGER NOT NULL,
    n           INTEGER NOT NULL,                    -- from 1
    at          INTEGER NOT NULL,
    status      INTEGER,
    duration_ms INTEGER NOT NULL,
    words       TEXT    NOT NULL,
    PRIMARY KEY (delivery, n)
) STRICT, WITHOUT ROWID;

-- Jobs with a webhook_url of their own, so that an event finds it without the request.
CREATE TABLE job_webhook (
    job      BLOB    NOT NULL PRIMARY KEY,
    endpoint INTEGER NOT NULL,
    types    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
