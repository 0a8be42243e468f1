-- A number for a project, unless it has one. The table is locked.
insert into project (id, name) select coalesce(max(id), 0) + 1, $1::text from project
having not exists (select 1 from project where name = $1);
