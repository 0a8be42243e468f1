-- What a client's key stands for.
select fp, job from idem where project = $1 and key = $2;
