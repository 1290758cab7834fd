-- Accounts that this relay passes nothing of any more, whatever their hosts say.
CREATE TABLE takedowns (
    did TEXT PRIMARY KEY,
    taken_down_at_ms BIGINT NOT NULL
);

-- What happens to the host's events that fail verification; NULL: as configured.
ALTER TABLE hosts ADD COLUMN validation TEXT;
