package sqlite

import (
	"fmt"
	"strings"

	"github.com/upbeat-go/upbeat/store/internal/migration"
)

// Script returns one SQL script that does what Migrate does to a file that nobody has migrated: it is for those who give SQL to somebody
// else to run, with sqlite3 -bail for instance. It is one transaction, and fails on a file that was migrated, by Migrate or by
// a Script of another version: SQLite's SQL has no conditions. Validate is content after it.
func Script() (string, error) {
	migrations, err := migration.Load(Migrations())
	if err != nil {
		return "", fmt.Errorf("sqlite: %w", err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "BEGIN IMMEDIATE;\n%s;\n", strings.TrimSpace(versionsSQL))
	for _, m := range migrations {
		fmt.Fprintf(&b, "\n%s\nINSERT INTO upbeat_migrations (version, name, checksum) VALUES (%d, '%s', '%s');\n", strings.TrimSpace(m.SQL), m.Version, m.Name, m.Checksum)
	}
	b.WriteString("\nCOMMIT;\n")
	return b.String(), nil
}
