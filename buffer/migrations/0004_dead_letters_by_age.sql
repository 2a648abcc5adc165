-- The oldest dead letters go first, and one that was refused again is young again. Partial, so that
-- no list in the order of ids is tempted to use it, and to sort them all.
CREATE INDEX dead_letters_by_age ON dead_letters (failed_at) WHERE replaying = 0;
