-- Hosts that anyone named count among the new ones of their day; others do not.
ALTER TABLE hosts ADD COLUMN counted BIGINT NOT NULL DEFAULT 0;
