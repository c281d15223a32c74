package rules

import (
	"strconv"
	"strings"
)

// Filter gathers the conditions of a WHERE clause and their parameters: only those that are asked for, so that the planner sees
// what an index can serve. No condition has text of a caller.
type Filter struct {
	Args []any

	conditions []string
}

// Add adds a parameter that belongs to no condition, and returns how it is written.
func (f *Filter) Add(sign string, arg any) string {
	f.Args = append(f.Args, arg)
	return sign + strconv.Itoa(len(f.Args))
}

// And adds a condition. Each ? in it stands for one of the args, and becomes the number of a parameter, after a sign that
// is $ or ?.
func (f *Filter) And(condition string, args ...any) {
	var b strings.Builder
	for i, part := range strings.Split(condition, "?") {
		if i > 0 {
			b.WriteString("?" + strconv.Itoa(len(f.Args)+i))
		}
		b.WriteString(part)
	}
	f.Args = append(f.Args, args...)
	f.conditions = append(f.conditions, b.String())
}

// Where is the clause for a database that numbers its parameters after that sign.
func (f *Filter) Where(sign string) string {
	return " WHERE " + strings.ReplaceAll(strings.Join(f.conditions, " AND "), "?", sign)
}
