-- In another cluster transactions are numbered anew: what was copied from the old one stands before all that is to come.
update event set xid = '1'::xid8 where xid <> '1'::xid8;
