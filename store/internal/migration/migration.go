// Package migration reads numbered SQL files and tells which of them are still to be applied.
package migration

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"

	"github.com/upbeat-go/upbeat/store"
)

// Migration is one file, named like 0001_what_it_does.sql.
type Migration struct {
	Version  int
	Name     string
	SQL      string
	Checksum string // of SQL
}

// Load reads all .sql files at the root of fsys, in the order of their versions.
func Load(fsys fs.FS) ([]Migration, error) {
	names, err := fs.Glob(fsys, "*.sql")
	if err != nil {
		return nil, err
	}
	all := make([]Migration, 0, len(names))
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		version, err := strconv.Atoi(number)
		if err != nil || version < 1 {
			return nil, fmt.Errorf("migration %s: want a name like 0001_what_it_does.sql", name)
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, err
		}
		sum := sha256.Sum256(text)
		all = append(all, Migration{Version: version, Name: name, SQL: string(text), Checksum: hex.EncodeToString(sum[:])})
	}
	slices.SortFunc(all, func(a, b Migration) int { return a.Version - b.Version })
	for i := 1; i < len(all); i++ {
		if all[i].Version == all[i-1].Version {
			return nil, fmt.Errorf("migration %s: %s has the same number", all[i].Name, all[i-1].Name)
		}
	}
	return all, nil
}

// Applied is a row of upbeat_migrations.
type Applied struct {
	Version  int
	Name     string
	Checksum string
}

// Compare returns the migrations that are still to be applied, in order, and all that is wrong with the applied ones:
// store.ErrMigrationChanged, store.ErrNewerSchema, or both.
func Compare(all []Migration, applied []Applied) (pending []Migration, err error) {
	known := make(map[int]Migration, len(all))
	for _, m := range all {
		known[m.Version] = m
		if !slices.ContainsFunc(applied, func(a Applied) bool { return a.Version == m.Version }) {
			pending = append(pending, m)
		}
	}
	var errs []error
	var newer []string
	for _, a := range applied {
		m, ok := known[a.Version]
		if !ok {
			newer = append(newer, a.Name)
		} else if a.Checksum != m.Checksum {
			errs = append(errs, fmt.Errorf("%w: %s was applied with checksum %.12s but is now %.12s", store.ErrMigrationChanged, m.Name, a.Checksum, m.Checksum))
		}
	}
	if len(newer) > 0 {
		errs = append(errs, fmt.Errorf("%w: %s", store.ErrNewerSchema, strings.Join(newer, ", ")))
	}
	return pending, errors.Join(errs...)
}

// Validate is what Validate methods return.
func Validate(all []Migration, applied []Applied) error {
	pending, err := Compare(all, applied)
	if len(pending) == 0 {
		return err
	}
	return errors.Join(fmt.Errorf("%w: %s", store.ErrNotMigrated, strings.Join(Names(pending), ", ")), err)
}

// Names of migrations.
func Names(all []Migration) []string {
	names := make([]string, len(all))
	for i, m := range all {
		names[i] = m.Name
	}
	return names
}
