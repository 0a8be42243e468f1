-- Outgoing webhooks: who is told of events, what is still to be told, and what became of the tries. Older programs neither
-- read nor write it: what they commit is announced to nobody.

-- Who is told. Those of clients have a URL; the others stand for all webhook_urls of videos with one origin.
create table endpoint (
    id          bigint   not null generated always as identity primary key,
    project     bigint   not null,
    url         text,
    origin      text     not null,
    types       integer  not null,                     -- bit N is the event type with number N
    description text     not null,
    status      smallint not null check (status between 1 and 4),
    salts       text     not null,                     -- JSON of what secrets are made from, read and written by rows/webhooks.rs only
    created_at  bigint   not null,
    failures    bigint   not null default 0,           -- tries that failed since the last that did not
    open_until  bigint   not null default 0            -- nothing is tried before then
) with (fillfactor = 50, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 200);
create index endpoint_own on endpoint (project, id) where url is not null and status <> 4;
create unique index endpoint_origin on endpoint (project, origin) where url is null;

-- One event for one endpoint. `due_at` is null unless it is pending, so that delivery_due holds nothing else.
create table delivery (
    id       bigint   not null generated always as identity primary key,
    endpoint bigint   not null,
    job      uuid     not null,
    ver      integer  not null,
    type     smallint not null,                        -- of the event
    at       bigint   not null,                        -- of the event
    state    smallint not null check (state between 1 and 4),
    due_at   bigint,                                   -- earliest time of the next try; while it is tried, the end of the lease
    tries    bigint   not null,
    begun_at bigint   not null,
    unique (job, endpoint, ver),
    check ((state = 1) = (due_at is not null))
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.05,
        autovacuum_vacuum_cost_delay = 0);
create index delivery_due on delivery (endpoint, due_at, id) where due_at is not null;
create index delivery_log on delivery (endpoint, id);

-- The newest tries of each delivery.
create table delivery_try (
    delivery    bigint  not null,
    n           bigint  not null,                      -- from 1
    at          bigint  not null,
    status      integer,
    duration_ms bigint  not null,
    words       text    not null,
    primary key (delivery, n)
);

-- Jobs with a webhook_url of their own, so that an event finds it without the request.
create table job_webhook (
    job      uuid    not null primary key,
    endpoint bigint  not null,
    types    integer not null
);
