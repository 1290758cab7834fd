-- Jobs that fill the directory of collections, and how far they are.
CREATE TABLE backfill_jobs (
    name TEXT PRIMARY KEY,
    -- What is asked of it, as JSON.
    spec TEXT NOT NULL,
    state TEXT NOT NULL,
    reason TEXT,
    last_error TEXT,
    last_error_at_ms BIGINT,
    run BIGINT NOT NULL,
    -- Which directory the run fills, and whether its parts are planned.
    incarnation BIGINT NOT NULL,
    planned BIGINT NOT NULL,
    resumes BIGINT NOT NULL,
    resumed_from TEXT,
    resumed_at_ms BIGINT,
    created_at_ms BIGINT NOT NULL,
    started_at_ms BIGINT,
    finished_at_ms BIGINT,
    next_run_at_ms BIGINT
);

CREATE TABLE backfill_parts (
    job TEXT NOT NULL,
    key TEXT NOT NULL,
    -- Parts are worked on in this order.
    number BIGINT NOT NULL,
    provider TEXT NOT NULL,
    expected BIGINT,
    state TEXT NOT NULL,
    cursor TEXT,
    -- Steps since the part was begun; moves of its row in this run, which never begin anew.
    steps BIGINT NOT NULL,
    moves BIGINT NOT NULL,
    -- How often it was begun anew without having come further than `furthest` (DIDs).
    restarts BIGINT NOT NULL,
    furthest BIGINT NOT NULL,
    seen BIGINT NOT NULL,
    added BIGINT NOT NULL,
    removed BIGINT NOT NULL,
    retrying BIGINT NOT NULL,
    -- Accounts by what was found of them, as JSON.
    classes TEXT NOT NULL,
    error TEXT,
    PRIMARY KEY (job, key)
);

-- Accounts that could not be looked at and are asked again.
CREATE TABLE backfill_retries (
    job TEXT NOT NULL,
    part TEXT NOT NULL,
    did TEXT NOT NULL,
    reason TEXT NOT NULL,
    tries BIGINT NOT NULL,
    next_at_ms BIGINT NOT NULL,
    PRIMARY KEY (job, part, did)
);
CREATE INDEX backfill_retries_by_time ON backfill_retries (job, part, next_at_ms);
