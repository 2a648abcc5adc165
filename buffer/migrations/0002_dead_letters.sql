-- Events that a sink will never take as they are, with the reason; they wait for a person.

CREATE TABLE dead_letters (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,  -- never used twice: people write ids down
    sink        TEXT    NOT NULL,
    stream      TEXT    NOT NULL,
    seq         INTEGER NOT NULL,
    received_at REAL    NOT NULL,
    failed_at   REAL    NOT NULL,
    attempts    INTEGER NOT NULL,
    status      INTEGER,                            -- the sink's code, where it has one
    error       TEXT    NOT NULL,
    replaying   INTEGER NOT NULL DEFAULT 0,         -- 1: back in line, not settled yet
    attributes  TEXT,                               -- JSON; CloudEvents attributes
    event       BLOB    NOT NULL
);

CREATE INDEX dead_letters_by_sink ON dead_letters (sink, replaying, id);

-- Counted as they come and go: nothing is counted by looking.
ALTER TABLE sinks ADD COLUMN dead_letters INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sinks ADD COLUMN dead_letter_bytes INTEGER NOT NULL DEFAULT 0;
ALTER TABLE sinks ADD COLUMN discarded INTEGER NOT NULL DEFAULT 0; -- dead letters over the limits
ALTER TABLE sinks ADD COLUMN in_flight TEXT NOT NULL DEFAULT '[]'; -- batches sent, not settled
