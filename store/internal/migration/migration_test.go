package migration_test

import (
	"testing"
	"testing/fstest"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store/internal/migration"
)

func TestLoad_InOrder(t *testing.T) {
	t.Parallel()
	all, err := migration.Load(fstest.MapFS{
		"0002_b.sql": {Data: []byte("SELECT 2")}, "0001_a.sql": {Data: []byte("SELECT 1")}, "README.md": {},
	})
	require.NoError(t, err)
	require.Len(t, all, 2)
	require.Equal(t, "0001_a.sql", all[0].Name)
	require.Equal(t, 2, all[1].Version)
	require.Equal(t, "SELECT 2", all[1].SQL)
	require.NoError(t, all[0].Check(all[0].Checksum))
	require.ErrorContains(t, all[0].Check(all[1].Checksum), "0001_a.sql was applied with checksum")
}

func TestLoad_RefusesDoubles(t *testing.T) {
	t.Parallel()
	for name, files := range map[string]fstest.MapFS{
		"double":    {"0001_a.sql": {}, "0001_b.sql": {}},
		"no number": {"a.sql": {}},
	} {
		_, err := migration.Load(files)
		require.Error(t, err, name)
	}
}
