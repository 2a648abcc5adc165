-- Identities of what was stored: a request or an event seen again within the window is not stored
-- twice. Ids grow with time, so the oldest are forgotten by range, and their number is known.
CREATE TABLE seen (
    id  INTEGER PRIMARY KEY,
    key BLOB    NOT NULL UNIQUE,   -- BLAKE2b-128 of the stream and the identity
    at  REAL    NOT NULL
);
