package postgres

// Waiting is how many small batches wait for a transaction to share.
func (db *DB) Waiting() int {
	db.group.mu.Lock()
	defer db.group.mu.Unlock()
	return len(db.group.waiting)
}
