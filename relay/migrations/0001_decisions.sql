-- What people decide, and what the relay must not forget of its hosts.
-- One schema for SQLite and PostgreSQL, hence BIGINT and TEXT alone. Times are milliseconds since 1970 (UTC).

-- Ids are given out here, and not by the databases, which would each do it their own way. Taking one also locks the
-- row until the transaction ends, so that writers come one after the other.
CREATE TABLE ids (
    name TEXT PRIMARY KEY,
    last_id BIGINT NOT NULL
);
INSERT INTO ids (name, last_id) VALUES ('host', 0), ('audit', 0);

CREATE TABLE hosts (
    id BIGINT PRIMARY KEY,
    hostname TEXT NOT NULL UNIQUE,
    insecure BIGINT NOT NULL,
    status TEXT NOT NULL,
    -- NULL: as configured; 0: no limit.
    account_limit BIGINT,
    events_per_second BIGINT,
    added_at_ms BIGINT NOT NULL,
    -- Failures in a row, and the last of them.
    failures BIGINT NOT NULL,
    last_error TEXT,
    last_error_at_ms BIGINT
);

CREATE TABLE domain_bans (
    domain TEXT PRIMARY KEY,
    banned_at_ms BIGINT NOT NULL
);

CREATE TABLE audit (
    id BIGINT PRIMARY KEY,
    at_ms BIGINT NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    detail TEXT
);
