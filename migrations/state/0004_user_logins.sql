-- 0004 user logins: one-time codes, certificates and the keys of a session, by user.
-- Why: a user kept here must be able to have all that one of the configuration file has.
ALTER TABLE user ADD COLUMN totp TEXT;                              -- base32 secret; NULL: none
ALTER TABLE user ADD COLUMN principals TEXT NOT NULL DEFAULT '[]';  -- JSON array
ALTER TABLE user ADD COLUMN key_prefix TEXT DEFAULT '[5,99]';       -- JSON: two bytes; NULL: keys are off
