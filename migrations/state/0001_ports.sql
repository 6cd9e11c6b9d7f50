-- 0001 ports: who the ports are and where each one's log stands.
-- Why: a port's uuid and its last epoch must outlive renames and restarts; both are small and are
-- written when something about a port changes, never with each commit.
CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE port (
  id             INTEGER PRIMARY KEY,
  uuid           TEXT    NOT NULL UNIQUE,
  name           TEXT    NOT NULL COLLATE NOCASE UNIQUE,
  backend        TEXT    NOT NULL,
  broken_because TEXT              -- why the next registration begins a new epoch; NULL: it goes on
) STRICT;

CREATE TABLE epoch (
  port     INTEGER NOT NULL REFERENCES port (id),
  epoch    INTEGER NOT NULL,
  began_us INTEGER NOT NULL,      -- microseconds since the Unix epoch
  because  TEXT    NOT NULL,
  PRIMARY KEY (port, epoch)
) STRICT, WITHOUT ROWID;

-- The last sealed record of each port: what the log files must hold at least.
CREATE TABLE sealed (
  port       INTEGER PRIMARY KEY REFERENCES port (id),
  epoch      INTEGER NOT NULL,
  last_seq   INTEGER NOT NULL,
  end_offset INTEGER NOT NULL,
  last_us    INTEGER NOT NULL,
  hash       BLOB    NOT NULL CHECK (length(hash) = 32),
  file       TEXT    NOT NULL     -- name of the log file in log/
) STRICT;

-- Every log file that was begun: a missing one can be named.
CREATE TABLE log_file (
  name        TEXT PRIMARY KEY,
  began_us    INTEGER NOT NULL,
  finished_us INTEGER
) STRICT, WITHOUT ROWID;
