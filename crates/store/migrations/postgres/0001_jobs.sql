-- Jobs, their attempts, events and outputs, for many machines. Times and durations are integer microseconds; numbers of
-- states, kinds and codes are those of longtake-core. The database refuses what the types refuse.
--
-- No foreign keys and no triggers: every table is written by statements that know what they do. `job` keeps its updates
-- on the page (HOT): none of its changing columns stands in an index. `event` is split by day, so that old days go as a
-- whole; the days are made ahead by the store, and a default partition takes what has no day.

-- The database's clock. It moves within a transaction, on purpose: a change that waited for a lock happens after the
-- change it waited for, and its time must say so.
create function now_us() returns bigint language sql volatile as
$$ select (extract(epoch from clock_timestamp()) * 1000000)::bigint $$;

create table job (
    id                uuid     not null primary key,   -- UUIDv7: sorts by age
    project           bigint   not null,
    model             text     not null,               -- the public one; it chooses the routes
    state             smallint not null check (state in (10, 20, 25, 27, 30, 40, 90, 91, 92)),
    ver               integer  not null check (ver >= 1),
    code              text,                            -- of the failure
    message           text,
    created_at        bigint   not null,
    finished_at       bigint,
    deadline_us       bigint,                          -- how long the client gave it
    deadline_at       bigint,
    cancel_at         bigint,
    cancel_outcome    smallint check (cancel_outcome between 0 and 4),
    priority          smallint not null,
    progress          smallint check (progress between 0 and 100),
    first_attempt     integer  not null default 1,
    attempts_used     integer  not null default 0,
    unavailable_since bigint,
    hidden_at         bigint,
    fence_floor       bigint   not null default 0,     -- highest fence of its deleted work rows: new ones start there
    check ((state = 91) = (code is not null)),
    check ((code is null) = (message is null)),
    check ((state >= 90) = (finished_at is not null)),
    check ((cancel_at is null) = (cancel_outcome is null)),
    check ((deadline_us is null) = (deadline_at is null)),
    check (hidden_at is null or state >= 90)
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.05, autovacuum_analyze_scale_factor = 0.05);
create index job_listed on job (project, id);

-- The unchanging half of a job.
create table job_req (
    job       uuid  not null primary key,
    metadata  jsonb,                                   -- the client's own pairs; null where there are none
    input_key text,                                    -- of the input image in the artifact store
    req       bytea not null                           -- JSON of the rest, read and written by rows/json.rs only
);
create index job_req_input on job_req (input_key) where input_key is not null;

-- What remains to be done. A row exists only as long.
create table work (
    job      uuid     not null,
    kind     smallint not null check (kind in (0, 1, 2)),            -- 0 drive job, 1 deliver webhook (not yet used), 2 watch late attempt
    ref      bigint   not null default 0,              -- the attempt watched; 0 for kind 0
    lane     smallint not null default 0 check (lane in (0, 1)),     -- 0 jobs, 1 webhooks
    due_at   bigint   not null,                        -- unowned: to be looked at then, room or no room; owned: the largest integer unless woken
    owner    bigint,                                   -- executor
    fence    bigint   not null default 0,              -- grows with each acquire and reap
    tries    integer  not null default 0,
    pool     integer  not null,                        -- whose executors can drive it; 0 is anyone
    queued   boolean  not null,                        -- waits for room for a submission
    priority smallint not null,                        -- of the job
    project  bigint   not null,                        -- of the job
    primary key (job, kind, ref)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05,
        autovacuum_vacuum_cost_delay = 0);
create index work_due on work (pool, due_at, job, kind, ref) where owner is null and due_at < 9223372036854775807;
create index work_queue on work (pool, priority desc, project, job) where owner is null and queued;
create index work_owned on work (owner, due_at) where owner is not null;

-- Incarnations of processes.
create table executor (
    id              bigint  not null generated always as identity primary key,
    host            text    not null,
    boot_id         text    not null,
    pid_namespace   text    not null,
    pid             integer not null,
    started_ticks   bigint  not null,
    ttl_us          bigint  not null,
    started_at      bigint  not null,
    beat_at         bigint  not null,
    dead_at         bigint,                            -- the others gave it up
    process_dead_at bigint,                            -- its process provably sends no more
    accounts        integer[] not null default '{}',   -- that it drives, as of its last beat
    loads           integer[] not null default '{}'    -- rows it owns of each
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);

-- The ledger of paid submissions.
create table attempt (
    job              uuid     not null,
    n                integer  not null check (n >= 1),
    state            smallint not null check (state between 1 and 8),
    executor         bigint   not null,
    nonce            bigint   not null,
    account          integer  not null,
    model            text     not null,                -- the provider's name for it
    client_ref       text     not null,
    provider_job     text,
    intent_at        bigint   not null,
    send_deadline_at bigint   not null,
    resolved_at      bigint,
    reject_code      text,
    reject_message   text,
    reject_retry     smallint check (reject_retry between 0 and 3),
    reject_after_us  bigint,
    verdict          smallint check (verdict between 1 and 3),
    decided_by       text,
    primary key (job, n),
    check ((state in (2, 5, 7, 8)) = (provider_job is not null)),
    check ((reject_code is null) = (reject_retry is null) and (reject_code is null) = (reject_message is null)),
    check ((verdict is null) = (decided_by is null))
) with (fillfactor = 80);
create unique index attempt_one_open on attempt (job) where state in (1, 2, 4);
create index attempt_in_flight on attempt (account, model, state) where state in (1, 2, 4, 6, 7);
create unique index attempt_provider_job on attempt (account, provider_job) where provider_job is not null;

-- Facts. (job, ver) is unique by construction: `ver` is given under the lock of the job's row. Feeds page by (xid, seq).
create sequence event_seq;
create table event (
    job     uuid     not null,
    ver     integer  not null check (ver >= 1),
    project bigint   not null,
    type    smallint not null check (type between 1 and 12),
    at      bigint   not null,
    xid     xid8     not null default pg_current_xact_id(),
    seq     bigint   not null default nextval('event_seq'),
    body    text     not null                          -- JSON of the snapshot, read and written by rows/json.rs only
) partition by range (at);
create index event_job on event (job, ver);
create index event_feed on event (xid, seq);
create table event_default partition of event default;

-- What clients' keys stand for.
create table idem (
    project bigint not null,
    key     text   not null,
    fp      bytea  not null check (length(fp) = 32),
    job     uuid   not null,
    at      bigint not null,
    primary key (project, key)
);

-- Stored outputs. An object that no row names is swept.
create table artifact (
    job         uuid    not null,
    attempt     integer not null,
    n           integer not null,                      -- 0 is the video
    key         text    not null,
    bytes       bigint  not null check (bytes >= 0),
    sha256      bytea   not null check (length(sha256) = 32),
    media_type  text    not null,
    width       bigint  not null,
    height      bigint  not null,
    duration_ms bigint  not null,
    frames      bigint  not null,
    codec       text    not null,
    primary key (job, attempt, n)
);
create index artifact_key on artifact (key);

-- How long the newest completed jobs of each model ran. A table of its own, so that `job` needs no index for it.
create table duration (
    model       text   not null,                       -- the public one
    finished_at bigint not null,
    job         uuid   not null,
    us          bigint not null,
    primary key (model, finished_at, job)
);

-- Provider jobs that no attempt accounts for.
create table orphan (
    id           bigint  not null generated always as identity primary key,
    account      integer not null,
    provider_job text    not null,
    job          uuid    not null,                     -- through which it was found
    n            integer not null,
    at           bigint  not null,
    unique (account, provider_job)
);

-- The flight recorder: the newest exchanges of each job.
create table exchange (
    id          bigint  not null generated always as identity primary key,
    job         uuid    not null,
    n           integer not null,
    call        text    not null,                      -- submit, find, poll, fetch, cancel
    at          bigint  not null,
    request     text    not null,
    status      integer,
    duration_ms bigint  not null,
    answer      text    not null
);
create index exchange_job on exchange (job, id);

create table account (
    id       integer not null primary key,
    name     text    not null,
    provider text    not null,
    unique (name, provider)
);

-- What a queued job waits for: one provider's model at one account.
create table pool (
    id      integer not null primary key,
    account integer not null,
    model   text    not null,
    unique (account, model)
);

-- Pace and the lock of limits: a row for each account (pool 0) and each pool (account 0) that has limits.
create table pace (
    account integer not null,
    pool    integer not null,
    tat_at  bigint  not null default 0,                -- theoretical arrival time of the next submission
    primary key (account, pool)
) with (fillfactor = 50, autovacuum_vacuum_threshold = 200);

-- Whose turn it is: the project served last at each account. Apart from `pace`, so that taking does not wait for opening.
create table turn (
    account integer not null primary key,
    project bigint  not null default -9223372036854775808
) with (fillfactor = 50, autovacuum_vacuum_threshold = 200);

create table project (
    id   bigint not null primary key,
    name text   not null unique
);
insert into project (id, name) values (1, 'default');

create table api_key (
    id         bigint not null primary key,
    name       text   not null,
    project    bigint not null,
    hash       bytea  not null unique check (length(hash) = 32),
    scopes     text[] not null,
    created_at bigint not null,
    revoked_at bigint
);

create table meta (
    key   text not null primary key,
    value text not null
);

-- Takes queued rows for an executor: by priority, then projects in turn, then age, as far as accounts and pools have room.
--
-- Index probes only. It waits for no lock: an account from which somebody else takes at this moment is passed over, and
-- so is a row that somebody else has locked. A batch of `many` rows takes no pool beyond its room, so within a batch
-- the order is that of ranks: the first row of each project, from the one after the turn on, then the second of each.
create function take_queued(
    taker bigint, most integer,
    accounts integer[], rooms integer[],
    pool_ids integer[], pool_accounts integer[], pool_rooms integer[]
) returns table (job_id uuid, place integer) language plpgsql as $$
declare
    never constant bigint := 9223372036854775807;
    nobody constant uuid := '00000000-0000-0000-0000-000000000000';
    account_at integer;
    room integer;
    served bigint;          -- the turn
    free integer[];         -- pools with room
    left_in integer[];      -- and how much
    level smallint;         -- the priority looked at
    projects bigint[];      -- that have rows of it, in turn
    lasts uuid[];           -- the row of each that was looked at last
    many integer;
    depth integer;
    seen uuid[]; seen_pools integer[]; seen_projects bigint[];
    got uuid[];
    taken uuid[] := '{}';
    at_row integer;
begin
    for account_at in 1 .. coalesce(array_length(accounts, 1), 0) loop
        room := least(rooms[account_at], most - coalesce(array_length(taken, 1), 0));
        continue when room <= 0;
        select array_agg(p.id order by p.id), array_agg(p.room order by p.id) into free, left_in
        from unnest(pool_ids, pool_accounts, pool_rooms) as p(id, account, room)
        where p.account = accounts[account_at] and p.room > 0
          and exists (select 1 from work w where w.owner is null and w.queued and w.pool = p.id);
        continue when free is null;
        insert into turn (account) values (accounts[account_at]) on conflict do nothing;
        select t.project into served from turn t where t.account = accounts[account_at] for update skip locked;
        continue when not found;
        level := null;
        while room > 0 and coalesce(array_length(free, 1), 0) > 0 loop
            -- The highest priority that waits, below the ones that are exhausted.
            select max(w.priority) into level
            from unnest(free) as f(pool)
            cross join lateral (
                select x.priority from work x
                where x.owner is null and x.queued and x.pool = f.pool and (level is null or x.priority < level)
                order by x.priority desc limit 1
            ) w;
            exit when level is null;
            -- Its projects, from the turn on; more than there is room for are not needed.
            with recursive step(project, wrapped) as (
                select n.project, n.wrapped from (
                    (select w.project, false as wrapped from unnest(free) as f(pool)
                     cross join lateral (select x.project from work x
                                         where x.owner is null and x.queued and x.pool = f.pool
                                           and x.priority = level and x.project > served
                                         order by x.project limit 1) w
                     order by 1 limit 1)
                    union all
                    (select w.project, true from unnest(free) as f(pool)
                     cross join lateral (select x.project from work x
                                         where x.owner is null and x.queued and x.pool = f.pool
                                           and x.priority = level and x.project <= served
                                         order by x.project limit 1) w
                     order by 1 limit 1)) n
                union all
                select n.project, step.wrapped from step
                cross join lateral (
                    select w.project from unnest(free) as f(pool)
                    cross join lateral (select x.project from work x
                                        where x.owner is null and x.queued and x.pool = f.pool
                                          and x.priority = level and x.project > step.project
                                          and (not step.wrapped or x.project <= served)
                                        order by x.project limit 1) w
                    order by 1 limit 1) n
            ), some_of as (select step.project, step.wrapped from step limit 2 * room)
            select array_agg(s.project order by s.wrapped, s.project) into projects from some_of s;
            projects := projects[1:room];
            lasts := array_fill(nobody, array[coalesce(array_length(projects, 1), 0)]);
            while room > 0 and coalesce(array_length(projects, 1), 0) > 0 and coalesce(array_length(free, 1), 0) > 0 loop
                select least(room, min(l)) into many from unnest(left_in) as l;
                depth := (many - 1) / array_length(projects, 1) + 1;
                select array_agg(b.job order by b.rank, b.wrapped, b.project),
                       array_agg(b.pool order by b.rank, b.wrapped, b.project),
                       array_agg(b.project order by b.rank, b.wrapped, b.project)
                into seen, seen_pools, seen_projects
                from (
                    select h.job, h.pool, h.rank, p.project, p.project <= served as wrapped
                    from unnest(projects, lasts) as p(project, last)
                    cross join lateral (
                        select c.job, c.pool, row_number() over (order by c.job) as rank
                        from (
                            select w.job, w.pool from unnest(free) as f(pool)
                            cross join lateral (select x.job, x.pool from work x
                                                where x.owner is null and x.queued and x.pool = f.pool
                                                  and x.priority = level and x.project = p.project and x.job > p.last
                                                order by x.job limit depth) w
                            order by w.job limit depth
                        ) c
                    ) h
                    order by h.rank, wrapped, p.project limit many
                ) b;
                exit when seen is null;
                select array_agg(l.job) into got from (
                    select w.job from work w
                    where w.job = any (seen) and w.kind = 0 and w.ref = 0 and w.owner is null and w.queued
                    for update skip locked
                ) l;
                for at_row in 1 .. array_length(seen, 1) loop
                    lasts[array_position(projects, seen_projects[at_row])] := seen[at_row];
                    continue when got is null or not seen[at_row] = any (got);
                    taken := taken || seen[at_row];
                    served := seen_projects[at_row];
                    room := room - 1;
                    left_in[array_position(free, seen_pools[at_row])] :=
                        left_in[array_position(free, seen_pools[at_row])] - 1;
                end loop;
                -- Who had less than a batch asks for has no more; and pools may be full now.
                select array_agg(p.project), array_agg(p.last) into projects, lasts
                from unnest(projects, lasts) as p(project, last)
                where exists (
                    select 1 from unnest(free, left_in) as f(pool, room)
                    cross join lateral (select 1 from work x
                                        where f.room > 0 and x.owner is null and x.queued and x.pool = f.pool
                                          and x.priority = level and x.project = p.project and x.job > p.last
                                        limit 1) w);
                select array_agg(f.pool order by f.pool), array_agg(f.room order by f.pool) into free, left_in
                from unnest(free, left_in) as f(pool, room) where f.room > 0;
            end loop;
        end loop;
        update turn set project = served where account = accounts[account_at] and project <> served;
    end loop;
    update work w set owner = taker, fence = w.fence + 1, due_at = never, queued = false
    where w.job = any (taken) and w.kind = 0 and w.ref = 0;
    return query select t.job, t.at::integer from unnest(taken) with ordinality as t(job, at);
end
$$;
