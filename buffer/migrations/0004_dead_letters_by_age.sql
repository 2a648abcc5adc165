-- The oldest dead letters go first, and one that was refused again is young again.
CREATE INDEX dead_letters_by_age ON dead_letters (replaying, failed_at);
