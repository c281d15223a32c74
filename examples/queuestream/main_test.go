package main

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/internal/testserver"
)

// Two processes share what is sent: each request is handled once.
func TestRun_SharesTheWork(t *testing.T) {
	t.Parallel()
	url := "redis://" + testserver.StartRedis(t, testserver.RedisConfig{}).Addr()
	rdb := redis.NewClient(&redis.Options{Addr: url[len("redis://"):]})
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	const n = 500
	ctx, cancel := context.WithCancel(t.Context())
	outs := make([]bytes.Buffer, 2)
	errs := make([]error, 2)
	var wg sync.WaitGroup
	for i := range outs {
		wg.Go(func() { errs[i] = run(ctx, []string{"-redis", url, "-work"}, &outs[i]) })
	}
	var sent bytes.Buffer
	require.NoError(t, run(t.Context(), []string{"-redis", url, "-send", fmt.Sprint(n)}, &sent))
	require.Equal(t, "sent 500\n", sent.String())
	require.Eventually(t, func() bool {
		groups, err := rdb.XInfoGroups(t.Context(), stream).Result()
		return err == nil && len(groups) == 1 && groups[0].Lag == 0 && groups[0].Pending == 0 && groups[0].EntriesRead == n
	}, time.Minute, 10*time.Millisecond)
	cancel()
	wg.Wait()
	handled := 0
	for i := range outs {
		require.NoError(t, errs[i])
		var count, failed int
		_, err := fmt.Sscanf(outs[i].String(), "handled %d, failed %d", &count, &failed)
		require.NoError(t, err)
		require.Zero(t, failed)
		handled += count
	}
	require.Equal(t, n, handled)
}

func TestRun_SaysWhatIsWrong(t *testing.T) {
	t.Setenv("REDIS_URL", "")
	require.ErrorContains(t, run(t.Context(), nil, new(bytes.Buffer)), "-redis")
}
