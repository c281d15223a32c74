package postgres

import (
	"context"
	"errors"
	"os"
)

// OpenFromEnv is Open with the dsn of the environment: DATABASE_URL, or where that is empty the variables of libpq (PGHOST, PGPORT,
// PGDATABASE, PGUSER, PGPASSWORD, PGSERVICE, PGSSLMODE and so on), of which PGHOST, PGSERVICE or PGDATABASE has to be set. What
// DATABASE_URL leaves out comes from those variables, too.
func OpenFromEnv(ctx context.Context, cfg Config) (*DB, error) {
	dsn := os.Getenv("DATABASE_URL")
	if dsn == "" && os.Getenv("PGHOST") == "" && os.Getenv("PGSERVICE") == "" && os.Getenv("PGDATABASE") == "" {
		return nil, errors.New("postgres: no database: set DATABASE_URL, or PGHOST and the other variables of libpq")
	}
	return Open(ctx, dsn, cfg)
}
