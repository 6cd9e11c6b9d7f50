-- 0002 hot: what came in since the last seal, in the order of the commits.
-- Why: a commit must be one small append for each port. An index on port would dirty one page for
-- each port and commit, so there is none: who reads a port keeps a list of its rows in memory.
CREATE TABLE hot (
  id         INTEGER PRIMARY KEY,
  port       INTEGER NOT NULL,
  epoch      INTEGER NOT NULL,
  first_seq  INTEGER NOT NULL,
  last_seq   INTEGER NOT NULL CHECK (last_seq >= first_seq),
  offset     INTEGER NOT NULL CHECK (offset >= 0),  -- of the first rx byte at or after first_seq
  end_offset INTEGER NOT NULL CHECK (end_offset >= offset),
  first_us   INTEGER NOT NULL,                      -- microseconds since the Unix epoch
  last_us    INTEGER NOT NULL CHECK (last_us >= first_us),
  bytes      INTEGER NOT NULL,                      -- payload, runs counted in full
  frame      BLOB    NOT NULL CHECK (length(frame) > 0)
) STRICT;
