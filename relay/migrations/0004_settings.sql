-- What is switched at run time and stays so: a value here goes before the configured one.
CREATE TABLE settings (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);
