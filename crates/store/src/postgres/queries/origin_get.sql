-- The endpoint that stands for an origin.
select id from endpoint where project = $1 and origin = $2 and url is null;
