package store_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/store"
)

func TestJudge_Rules(t *testing.T) {
	t.Parallel()
	consumer := func(change func(*store.ConsumerFigures)) *store.ConsumerFigures {
		f := &store.ConsumerFigures{Running: true, Rate: 100}
		change(f)
		return f
	}
	errors := func(rate float64) *store.ConsumerFigures {
		return consumer(func(f *store.ConsumerFigures) { f.ErrorRate = rate })
	}
	backlog := func(rate float64, lag int64) *store.ConsumerFigures {
		return consumer(func(f *store.ConsumerFigures) { f.Rate, f.Lag = rate, lag })
	}
	used := func(share float64) *store.PoolFigures { return &store.PoolFigures{Utilisation: share} }
	for name, c := range map[string]struct {
		consumer *store.ConsumerFigures
		pool     *store.PoolFigures
		want     map[string]string
	}{
		"nothing is known":       {nil, nil, nil},
		"all is well":            {backlog(613, 0), used(0.5), nil},
		"down":                   {&store.ConsumerFigures{}, nil, map[string]string{"consumer_down": "critical"}},
		"down with a backlog":    {&store.ConsumerFigures{Lag: 9}, nil, map[string]string{"consumer_down": "critical"}},
		"1 % errors":             {errors(0.01), nil, nil},
		"over 1 % errors":        {errors(0.0101), nil, map[string]string{"error_rate": "warning"}},
		"5 % errors":             {errors(0.05), nil, map[string]string{"error_rate": "warning"}},
		"over 5 % errors":        {errors(0.0501), nil, map[string]string{"error_rate": "critical"}},
		"errors are no number":   {errors(math.NaN()), nil, nil},
		"80 % in use":            {nil, used(0.8), nil},
		"over 80 % in use":       {nil, used(0.81), map[string]string{"pool_utilisation": "warning"}},
		"90 % in use":            {nil, used(0.9), map[string]string{"pool_utilisation": "warning"}},
		"over 90 % in use":       {nil, used(0.91), map[string]string{"pool_utilisation": "critical"}},
		"20 messages/s":          {backlog(20, 5), nil, nil},
		"under 20 messages/s":    {backlog(19.9, 5), nil, map[string]string{"slow_consumer": "warning"}},
		"idle":                   {backlog(0, 0), nil, nil},
		"slow, lag unknown":      {backlog(0, -1), nil, nil},
		"everything at one time": {&store.ConsumerFigures{Running: true, ErrorRate: 1, Lag: 1}, used(1), map[string]string{"error_rate": "critical", "slow_consumer": "warning", "pool_utilisation": "critical"}},
	} {
		found := store.Judge(c.consumer, c.pool)
		require.NotNil(t, found, "an empty list, for JSON")
		got := map[string]string{}
		for _, f := range found {
			require.NotContains(t, got, f.Name, name)
			require.NotEmpty(t, f.Message)
			got[f.Name] = f.Severity
		}
		require.Len(t, got, len(c.want), name)
		for rule, severity := range c.want {
			require.Equal(t, severity, got[rule], name)
		}
	}
}
