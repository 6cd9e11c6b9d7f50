-- 0001 log file: sealed segments and all that is needed to read them, for ever.
-- Why: a log file may be read in ten years, alone, with nothing but the sqlite3 shell. It is never
-- altered once finished, so this file creates new ones only.
-- A segment's data is a frame (src/log/frame.ts), compressed by its codec.
CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE port (
  port    INTEGER PRIMARY KEY,    -- number of the port in this file
  uuid    TEXT NOT NULL UNIQUE,
  name    TEXT NOT NULL,
  backend TEXT NOT NULL
) STRICT;

CREATE TABLE session (
  session     INTEGER PRIMARY KEY,
  port        INTEGER NOT NULL REFERENCES port (port),
  user        TEXT    NOT NULL,
  remote      TEXT    NOT NULL,
  frontend    TEXT    NOT NULL,
  attached_us INTEGER NOT NULL,   -- microseconds since the Unix epoch
  detached_us INTEGER
) STRICT;

CREATE TABLE segment (
  id            INTEGER PRIMARY KEY,
  port          INTEGER NOT NULL REFERENCES port (port),
  epoch         INTEGER NOT NULL,
  first_seq     INTEGER NOT NULL,
  last_seq      INTEGER NOT NULL CHECK (last_seq >= first_seq),
  offset        INTEGER NOT NULL, -- of the first rx byte at or after first_seq
  end_offset    INTEGER NOT NULL CHECK (end_offset >= offset),
  first_us      INTEGER NOT NULL,
  last_us       INTEGER NOT NULL CHECK (last_us >= first_us),
  records       INTEGER NOT NULL,
  frame_bytes   INTEGER NOT NULL, -- of the frame before compression
  codec         TEXT    NOT NULL CHECK (codec IN ('none', 'brotli', 'zstd')),
  previous_hash BLOB    NOT NULL CHECK (length(previous_hash) = 32),
  hash          BLOB    NOT NULL CHECK (length(hash) = 32),
  data          BLOB    NOT NULL
) STRICT;
-- Holds all that a search by place or time asks for, so that none touches the pages of the data.
CREATE INDEX segment_place
  ON segment (port, epoch, first_seq, last_seq, offset, end_offset, first_us, last_us);

-- Stretches of a port's segments, contiguous in seq and with time never falling: what a reader
-- needs to know of a whole file, in a few rows.
CREATE TABLE span (
  port       INTEGER NOT NULL REFERENCES port (port),
  epoch      INTEGER NOT NULL,
  first_seq  INTEGER NOT NULL,
  last_seq   INTEGER NOT NULL,
  offset     INTEGER NOT NULL,
  end_offset INTEGER NOT NULL,
  first_us   INTEGER NOT NULL,
  last_us    INTEGER NOT NULL,
  segments   INTEGER NOT NULL,
  PRIMARY KEY (port, epoch, first_seq)
) STRICT, WITHOUT ROWID;

-- Once a minute the heads of all chains that grew are signed together (store/segment.ts).
CREATE TABLE checkpoint (
  at_us   INTEGER NOT NULL,
  port    INTEGER NOT NULL REFERENCES port (port),
  segment INTEGER NOT NULL REFERENCES segment (id),
  hash    BLOB    NOT NULL,
  PRIMARY KEY (at_us, port)
) STRICT, WITHOUT ROWID;

CREATE TABLE signature (
  at_us     INTEGER PRIMARY KEY,
  key_id    TEXT NOT NULL,        -- of an ed25519 key; its public half is in meta
  signature BLOB NOT NULL
) STRICT;
