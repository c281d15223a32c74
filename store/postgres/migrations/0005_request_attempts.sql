-- How often a request is tried at most, where that isn't left to its queue (0): who takes it over goes on counting.
ALTER TABLE open_requests ADD COLUMN max_attempts integer NOT NULL DEFAULT 0;
ALTER TABLE finished_requests ADD COLUMN max_attempts integer NOT NULL DEFAULT 0;
