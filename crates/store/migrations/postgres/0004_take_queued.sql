-- In place of the function of 0001, which could read much of the queue for a batch: past the last project of the turn to
-- its end (130 ms beside a million rows), and wherever a plan was made while an index seemed small.
--
-- Takes queued rows for an executor: by priority, then projects in turn, then age, as far as accounts and pools have room.
--
-- Index probes only. It waits for no lock: an account from which somebody else takes at this moment is passed over, and
-- so is a row that somebody else has locked. A batch of `many` rows takes no pool beyond its room, so within a batch
-- the order is that of ranks: the first row of each project, from the one after the turn on, then the second of each.
create or replace function take_queued(
    taker bigint, most integer,
    accounts integer[], rooms integer[],
    pool_ids integer[], pool_accounts integer[], pool_rooms integer[]
) returns table (job_id uuid, place integer) language plpgsql as $$
declare
    never constant bigint := 9223372036854775807;
    last_project constant bigint := 9223372036854775807;
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
          -- Not EXISTS: that may become a join which reads the whole queue first.
          and (select true from work w where w.owner is null and w.queued and w.pool = p.id
               order by w.priority desc limit 1);
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
                                          -- A bound of the index, not a filter: past the last project nothing is read.
                                          and x.project <= case when step.wrapped then served else last_project end
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
                    -- `coalesce`: by the key. An index of what waits that seemed small once is read whole otherwise.
                    where w.job = any (seen) and w.kind = 0 and w.ref = 0 and coalesce(w.owner, 0) = 0 and w.queued
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
