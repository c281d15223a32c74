package migration_test

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/internal/migration"
)

func TestLoad_InOrder(t *testing.T) {
	t.Parallel()
	all, err := migration.Load(fstest.MapFS{
		"0011_c.sql": {Data: []byte("SELECT 3")}, "0002_b.sql": {Data: []byte("SELECT 2")}, "0001_a.sql": {Data: []byte("SELECT 1")}, "README.md": {},
	})
	require.NoError(t, err)
	require.Equal(t, []string{"0001_a.sql", "0002_b.sql", "0011_c.sql"}, migration.Names(all))
	require.Equal(t, 2, all[1].Version)
	require.Equal(t, "SELECT 2", all[1].SQL)
	require.NotEqual(t, all[0].Checksum, all[1].Checksum)
}

func TestLoad_RefusesDoublesAndOddNames(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]fstest.MapFS{
		"double":        {"0001_a.sql": {}, "0001_b.sql": {}},
		"the same once": {"0001_a.sql": {}, "01_b.sql": {}},
		"no number":     {"a.sql": {}},
		"zero":          {"0000_a.sql": {}},
	} {
		_, err := migration.Load(files)
		require.Error(t, err, name)
	}
}

func TestCompare(t *testing.T) {
	t.Parallel()
	a, b, c := migration.Migration{Version: 1, Name: "a", Checksum: "1"}, migration.Migration{Version: 2, Name: "b", Checksum: "2"},
		migration.Migration{Version: 3, Name: "c", Checksum: "3"}
	all := []migration.Migration{a, b, c}
	for name, tt := range map[string]struct {
		applied []migration.Applied
		pending []migration.Migration
		errs    []error
	}{
		"fresh":       {nil, all, nil},
		"up to date":  {[]migration.Applied{{3, "c", "3"}, {1, "a", "1"}, {2, "b", "2"}}, nil, nil},
		"one is left": {[]migration.Applied{{1, "a", "1"}, {3, "c", "3"}}, []migration.Migration{b}, nil},
		"changed":     {[]migration.Applied{{1, "a", "1"}, {2, "b", "x"}, {3, "c", "3"}}, nil, []error{store.ErrMigrationChanged}},
		"newer":       {[]migration.Applied{{1, "a", "1"}, {2, "b", "2"}, {3, "c", "3"}, {9, "d", "4"}}, nil, []error{store.ErrNewerSchema}},
		"everything": {
			[]migration.Applied{{1, "a", "x"}, {9, "d", "4"}},
			[]migration.Migration{b, c},
			[]error{store.ErrMigrationChanged, store.ErrNewerSchema},
		},
	} {
		pending, err := migration.Compare(all, tt.applied)
		require.Equal(t, tt.pending, pending, name)
		require.Equal(t, len(tt.errs) > 0, err != nil, name)
		for _, want := range tt.errs {
			require.ErrorIs(t, err, want, name)
			require.ErrorIs(t, migration.Validate(all, tt.applied), want, name)
		}
		if len(tt.pending) > 0 {
			require.ErrorIs(t, migration.Validate(all, tt.applied), store.ErrNotMigrated, name)
		}
	}
}
