-- Retention: how far its walks have come, and where the feed begins.

-- One row for each project and kind: 1 outputs, 2 events, 3 whole jobs.
CREATE TABLE retention (
    project      INTEGER NOT NULL,
    kind         INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 3),
    mark         BLOB    NOT NULL CHECK (length(mark) = 16),  -- the last job looked at; zeros before the first
    restarted_at INTEGER NOT NULL,
    PRIMARY KEY (project, kind)
) STRICT, WITHOUT ROWID;

-- The newest event that was removed, for each project; 0 is all of them.
CREATE TABLE feed_floor (
    project INTEGER PRIMARY KEY,
    seq     INTEGER NOT NULL
) STRICT;

-- A walk passes hidden jobs too; the others are in job_listed. One index of both would cost each create a page more.
CREATE INDEX job_hidden ON job (project, id) WHERE hidden_at IS NOT NULL;
CREATE INDEX idem_job ON idem (job);
CREATE INDEX orphan_job ON orphan (job);
