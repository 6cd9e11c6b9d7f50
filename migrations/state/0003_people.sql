-- 0003 people: who was on which port, who may log in, and who did what.
-- Why: a session's number in a record means nothing without its user; the audit trail is a chain of
-- hashes, so that a row taken out or changed is seen.
CREATE TABLE session (
  session     INTEGER PRIMARY KEY,
  port        INTEGER NOT NULL REFERENCES port (id),
  user        TEXT    NOT NULL,
  remote      TEXT    NOT NULL,
  frontend    TEXT    NOT NULL,
  wrote       INTEGER NOT NULL CHECK (wrote IN (0, 1)),
  attached_us INTEGER NOT NULL,
  detached_us INTEGER
) STRICT;
CREATE INDEX session_port ON session (port, session);

CREATE TABLE user (
  name     TEXT PRIMARY KEY COLLATE NOCASE,
  role     TEXT NOT NULL,
  ports    TEXT NOT NULL,         -- JSON array of globs
  keys     TEXT NOT NULL,         -- JSON array of OpenSSH public keys
  password TEXT,                  -- $scrypt$...; NULL: no password login
  unix     TEXT,
  from_net TEXT NOT NULL          -- JSON array of CIDRs
) STRICT, WITHOUT ROWID;

CREATE TABLE audit (
  id       INTEGER PRIMARY KEY,
  at_us    INTEGER NOT NULL,
  user     TEXT    NOT NULL,
  remote   TEXT    NOT NULL,
  frontend TEXT    NOT NULL,
  action   TEXT    NOT NULL,
  port     TEXT,
  detail   TEXT    NOT NULL,
  hash     BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;
