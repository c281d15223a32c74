-- How often a request is tried at most, where that isn't left to its queue (0): who takes it over goes on counting.
ALTER TABLE requests ADD COLUMN max_attempts INTEGER NOT NULL DEFAULT 0;
