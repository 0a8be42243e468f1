-- The number of a project.
select id from project where name = $1;
