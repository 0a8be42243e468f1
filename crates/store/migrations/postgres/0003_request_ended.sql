-- Rule R7: the sender's own word. Of attempts that exist nobody said it, and older programs neither read nor write it.
alter table attempt add column request_ended_at bigint;           -- its request ended: the sender writes no more of it
