-- Which of these jobs have work. They are locked, so none comes.
select distinct w.job from work w where w.job = any ($1::uuid[]);
