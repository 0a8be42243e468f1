-- Retention: how far its walks have come, and from where on the feed is whole. And numbers of executors that no lost history
-- gives out twice.

-- One row for each project and kind: 1 outputs, 2 events, 3 whole jobs.
create table retention (
    project      bigint   not null,
    kind         smallint not null check (kind between 1 and 3),
    mark         uuid     not null,                    -- the last job looked at; zeros before the first
    restarted_at bigint   not null,
    primary key (project, kind)
) with (fillfactor = 50, autovacuum_vacuum_threshold = 200);

-- The highest place in the feed of an event that was removed, for each project.
create table feed_floor (
    project bigint not null primary key,
    xid     xid8   not null,
    seq     bigint not null
) with (autovacuum_vacuum_threshold = 200);
create index feed_floor_place on feed_floor (xid, seq);

-- Days of events about to go as a whole: up to where their places are in feed_floor already.
create table feed_day (
    from_at bigint not null primary key,
    xid     xid8   not null,
    seq     bigint not null
);

create index orphan_job on orphan (job);
create index work_watched on work (job) where kind = 2;

-- Where there are many keys, the index is built while others write: later/0001_idem_job.sql.
do $$
begin
    if pg_relation_size('idem') < 16 * 1024 * 1024 then
        create index idem_job on idem (job);
    end if;
end
$$;

-- A sequence that went back with the rest of a lost history would name two incarnations alike. 53 random bits do not (and
-- are exact in every reader of JSON); programs that know nothing of them get theirs here too.
create function new_executor() returns bigint language sql volatile as
$$ select greatest(1, ('x' || right(replace(gen_random_uuid()::text, '-', ''), 16))::bit(64)::bigint & 9007199254740991) $$;
alter table executor alter column id drop identity;
alter table executor alter column id set default new_executor();
create index executor_started on executor (started_at, id);
