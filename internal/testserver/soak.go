package testserver

import "os"

// Times is how often a test does something costly: few in everyday runs, many under make soak, which sets UPBEAT_SOAK=1.
func Times(few, many int) int {
	if os.Getenv("UPBEAT_SOAK") == "1" {
		return many
	}
	return few
}
