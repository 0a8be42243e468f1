-- Pools, queues and pace. Rows that exist go on as they are: in no pool, so that anyone drives them, and not queued.

-- What a queued job waits for: one provider's model at one account.
CREATE TABLE pool (
    id      INTEGER PRIMARY KEY,
    account INTEGER NOT NULL,
    model   TEXT    NOT NULL,                        -- the provider's name for it
    UNIQUE (account, model)
) STRICT;

-- Pace: one row for each account (pool 0) and for each pool (account 0) that has one.
CREATE TABLE pace (
    account INTEGER NOT NULL,
    pool    INTEGER NOT NULL,
    tat_at  INTEGER NOT NULL,                        -- theoretical arrival time of the next submission
    PRIMARY KEY (account, pool)
) STRICT, WITHOUT ROWID;

-- Whose turn it is: the project served last at each account.
CREATE TABLE turn (
    account INTEGER PRIMARY KEY,
    project INTEGER NOT NULL
) STRICT;

DROP INDEX work_due;
ALTER TABLE work ADD COLUMN pool INTEGER NOT NULL DEFAULT 0;      -- whose executors can drive it; 0 is anyone
ALTER TABLE work ADD COLUMN queued INTEGER NOT NULL DEFAULT 0     -- waits for room for a submission
    CHECK (queued = 0 OR queued = 1);
ALTER TABLE work ADD COLUMN priority INTEGER NOT NULL DEFAULT 0;  -- of the job
ALTER TABLE work ADD COLUMN project INTEGER NOT NULL DEFAULT 0;   -- of the job
UPDATE work SET (priority, project) = (SELECT j.priority, j.project FROM job j WHERE j.id = work.job);
-- A queued row that nothing makes due stands in one of them, an owned one in neither.
CREATE INDEX work_due ON work (pool, due_at) WHERE owner IS NULL AND lane = 0 AND due_at < 9223372036854775807;
CREATE INDEX work_queue ON work (pool, priority DESC, project, job) WHERE owner IS NULL AND queued = 1;

-- Which process: its number alone means nothing after a boot, or in another container.
ALTER TABLE executor ADD COLUMN boot_id TEXT NOT NULL DEFAULT '';
ALTER TABLE executor ADD COLUMN pid_namespace TEXT NOT NULL DEFAULT '';
ALTER TABLE executor ADD COLUMN started_ticks INTEGER NOT NULL DEFAULT 0;
ALTER TABLE executor ADD COLUMN dead_at INTEGER;                  -- a later process holds the lock

DROP INDEX attempt_in_flight;
CREATE INDEX attempt_in_flight ON attempt (account, model) WHERE state IN (1, 2, 4, 6, 7);
