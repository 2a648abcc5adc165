-- The log. Times are seconds since the epoch.

-- One row: what the file is, and what must outlive every event in it.
CREATE TABLE log (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    instance    TEXT    NOT NULL,   -- identity of this file, part of every batch's identity
    next_seq    INTEGER NOT NULL,   -- grows for ever; not derived from rows, which are deleted
    quarantined INTEGER NOT NULL    -- segments ever set aside
);

CREATE TABLE streams (
    id           INTEGER PRIMARY KEY,
    name         TEXT    NOT NULL UNIQUE,
    events_total INTEGER NOT NULL,  -- ever appended
    stored       INTEGER NOT NULL   -- in segments now
);

-- One row a stream and commit: events as NDJSON. The blobs stand last, so that reading the other
-- columns touches none of their pages.
CREATE TABLE segments (
    first_seq   INTEGER PRIMARY KEY,
    events      INTEGER NOT NULL,
    stream      INTEGER NOT NULL,
    received_at REAL    NOT NULL,
    size        INTEGER NOT NULL,   -- bytes of the NDJSON
    checksum    INTEGER NOT NULL,   -- CRC-32 of all the other columns
    attributes  BLOB,               -- zstd of a JSON array, one entry an event; NULL without any
    data        BLOB    NOT NULL    -- zstd of the NDJSON
);

-- Segments that were not read back as they were written, with their bytes, for a person to look at.
CREATE TABLE quarantine (
    first_seq   INTEGER PRIMARY KEY,
    events      INTEGER NOT NULL,
    stream      INTEGER NOT NULL,
    received_at REAL    NOT NULL,
    size        INTEGER NOT NULL,
    checksum    INTEGER NOT NULL,
    attributes  BLOB,
    data        BLOB    NOT NULL,
    found_at    REAL    NOT NULL,
    reason      TEXT    NOT NULL
);

-- A row a sink: its cursor (all seqs below are done), the done ranges above it (JSON pairs), and
-- what became of its events. routed + replayed = the outcomes + what still waits.
CREATE TABLE sinks (
    name               TEXT    PRIMARY KEY,
    streams            TEXT    NOT NULL,  -- JSON array of globs
    cursor             INTEGER NOT NULL,
    done               TEXT    NOT NULL,
    routed             INTEGER NOT NULL,
    replayed           INTEGER NOT NULL,
    delivered          INTEGER NOT NULL,
    dead_lettered      INTEGER NOT NULL,
    dropped            INTEGER NOT NULL,
    expired            INTEGER NOT NULL,
    quarantined        INTEGER NOT NULL,
    possible_duplicate INTEGER NOT NULL,
    notes              TEXT    NOT NULL,  -- JSON object: what the delivery keeps for itself
    abandoned_at       INTEGER            -- the next seq when the sink left the configuration
) WITHOUT ROWID;
