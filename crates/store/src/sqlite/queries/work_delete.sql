-- Done. The fence is remembered by floor_raise.
DELETE FROM work WHERE job = ?1 AND kind = ?2 AND ref = ?3 RETURNING fence;
