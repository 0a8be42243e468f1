-- Rule R7: the sender's own word. Of attempts that exist nobody said it.
ALTER TABLE attempt ADD COLUMN request_ended_at INTEGER;          -- its request ended: the sender writes no more of it
