package redispubsub_test

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/redispubsub"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

func TestSource_HearsChannelsAndPatterns(t *testing.T) {
	t.Parallel()
	rdb, name := shared(t)
	cfg := config(name)
	cfg.Patterns = []string{name + ":*"}
	src := listen(t, rdb, cfg)
	begun := time.Now()
	publish(t, rdb, name, "plain", "")
	publish(t, rdb, name+":x", beat("a", "r1", 7))
	raws := receive(t, src, 3)
	require.Equal(t, []string{"plain", "", beat("a", "r1", 7)}, payloads(raws))
	require.NotEqual(t, raws[0].ID, raws[1].ID)
	require.Equal(t, "api/a/r1/7", raws[2].ID)
	require.Equal(t, []string{name, ""}, []string{raws[0].Header("channel"), raws[0].Header("pattern")})
	require.Equal(t, []string{name + ":x", name + ":*"}, []string{raws[2].Header("channel"), raws[2].Header("pattern")})
	for _, r := range raws {
		require.WithinRange(t, r.At, begun, time.Now())
		require.Equal(t, 1, r.Attempt)
	}
	require.EqualValues(t, 3, src.Stats().Heard)
	require.Zero(t, src.Lost())
}

func TestSource_OverflowIsAsConfigured(t *testing.T) {
	t.Parallel()
	digits := []string{"0", "1", "2", "3", "4", "5", "6", "7", "8", "9"}
	tests := map[string]struct {
		change func(*redispubsub.Config)
		kept   []string
	}{
		"drop oldest":           {func(c *redispubsub.Config) { c.Buffer = 3 }, digits[7:]},
		"drop newest":           {func(c *redispubsub.Config) { c.Buffer, c.Overflow = 3, redispubsub.DropNewest }, digits[:3]},
		"wait":                  {func(c *redispubsub.Config) { c.Buffer, c.Overflow = 3, redispubsub.Wait }, digits},
		"drop oldest by bytes":  {func(c *redispubsub.Config) { c.BufferBytes = 4 }, digits[6:]},
		"drop newest by bytes":  {func(c *redispubsub.Config) { c.BufferBytes, c.Overflow = 4, redispubsub.DropNewest }, digits[:4]},
		"wait for bytes":        {func(c *redispubsub.Config) { c.BufferBytes, c.Overflow = 4, redispubsub.Wait }, digits},
		"there is room for all": {func(c *redispubsub.Config) { c.Buffer, c.BufferBytes = 10, 10 }, digits},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			rdb, channel := shared(t)
			cfg := config(channel)
			tt.change(&cfg)
			src := listen(t, rdb, cfg)
			publish(t, rdb, channel, digits...)
			dropped := int64(len(digits) - len(tt.kept))
			if dropped > 0 {
				eventually(t, func() bool { return src.Stats().Heard == 10 && src.Lost() == dropped })
			}
			require.Equal(t, tt.kept, payloads(receive(t, src, len(tt.kept))))
			require.Equal(t, dropped, src.Stats().Dropped)
			publish(t, rdb, channel, "last") // the room is free again
			require.Equal(t, []string{"last"}, payloads(receive(t, src, 1)))
		})
	}
}

func TestSource_TellsGapsAndCountsWhatWasMissed(t *testing.T) {
	t.Parallel()
	direct, channel := shared(t)
	proxy := testserver.StartProxy(t, direct.Options().Addr)
	cfg := config(channel)
	var mu sync.Mutex
	var gaps []redispubsub.Gap
	cfg.Gap = func(g redispubsub.Gap) {
		mu.Lock()
		defer mu.Unlock()
		gaps = append(gaps, g)
		panic("of the user")
	}
	src := listen(t, client(t, proxy.Addr()), cfg)
	publish(t, direct, channel, beat("a", "", 1), beat("b", "r", 1))
	receive(t, src, 2)
	begun := time.Now()
	proxy.Refuse()
	eventually(t, func() bool { return src.Stats().Node == "" })
	require.NotEmpty(t, src.Stats().LastError)
	publish(t, direct, channel, beat("a", "", 2), beat("b", "r", 2), beat("b", "r", 3))
	proxy.Pass()
	eventually(t, func() bool { return src.Stats().Node != "" })
	publish(t, direct, channel, beat("a", "", 3), beat("b", "r", 4))
	receive(t, src, 2)
	require.EqualValues(t, 3, src.Stats().Missed)
	require.EqualValues(t, 3, src.Lost())
	require.EqualValues(t, 1, src.Stats().Gaps)
	count, last := src.Gaps()
	require.EqualValues(t, 1, count)
	require.Contains(t, last.Reason, "nothing was heard for ")
	require.Greater(t, src.Stats().DeafSeconds, 0.0)
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, gaps, 1)
	require.Error(t, gaps[0].Why)
	require.True(t, gaps[0].Since.Before(begun) && gaps[0].Until.After(begun))
}

func TestSource_LeavesOutWhatIsTooLarge(t *testing.T) {
	t.Parallel()
	rdb, channel := shared(t)
	cfg := config(channel)
	cfg.MaxMessage = 1000
	src := listen(t, rdb, cfg)
	publish(t, rdb, channel, strings.Repeat("x", 2000), "small")
	require.Equal(t, []string{"small"}, payloads(receive(t, src, 1)))
	require.EqualValues(t, 1, src.Stats().Omitted)
	require.EqualValues(t, 1, src.Lost())
}

func TestSource_TriesAgainFromMemoryAndCountsWhatItsEndLost(t *testing.T) {
	t.Parallel()
	rdb, channel := shared(t)
	src, err := redispubsub.New(rdb, config(channel))
	require.NoError(t, err)
	attempts := make(chan int, 10)
	c, err := consumer.New(src, func(_ context.Context, m *consumer.Message[[]byte]) error {
		attempts <- m.Attempt
		if m.Attempt < 3 || string(m.Value) == "never" {
			return errors.New("not yet")
		}
		return nil
	}, consumer.Config{
		Logger: quiet, MinBackoff: 50 * time.Millisecond, DeadLetter: func(context.Context, []consumer.DeadLetter) error { return nil },
	})
	require.NoError(t, err)
	stop := run(t, c.Run)
	eventually(t, func() bool { return src.Stats().Node != "" })
	publish(t, rdb, channel, "later")
	for want := 1; want <= 3; want++ {
		require.Equal(t, want, <-attempts)
	}
	require.Zero(t, src.Lost())
	publish(t, rdb, channel, "never")
	require.Equal(t, 1, <-attempts)
	require.NoError(t, stop())
	require.EqualValues(t, 1, c.Stats().Lost)
	eventually(t, func() bool { return rdb.PubSubNumSub(t.Context(), channel).Val()[channel] == 0 }) // the subscription has ended
}

func TestSource_OfADisabledConsumerDoesNotSubscribe(t *testing.T) {
	t.Parallel()
	src, err := redispubsub.New(redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"}), config("x"))
	require.NoError(t, err)
	require.NoError(t, src.Close(t.Context()))
	require.Empty(t, src.Stats().LastError)
}

func TestNew_RefusesWhatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := redispubsub.New((*redis.Client)(nil), redispubsub.Config{})
	require.ErrorContains(t, err, "nil")
	rdb := redis.NewClient(&redis.Options{})
	_, err = redispubsub.New(rdb, redispubsub.Config{Buffer: -1, BufferBytes: -1, Overflow: 9, Ping: -1})
	for _, field := range []string{"Buffer is -1", "BufferBytes is -1", "Overflow is 9", "Ping is", "both empty"} {
		require.ErrorContains(t, err, field)
	}
	_, err = redispubsub.NewBridge(rdb, redispubsub.BridgeConfig{Stream: "a}", MaxLen: -1, Window: time.Millisecond})
	for _, field := range []string{"Stream is", "MaxLen is -1", "Window is 1ms", "both empty"} {
		require.ErrorContains(t, err, field)
	}
}

func TestIdentity_IsThatOfAHeartbeat(t *testing.T) {
	t.Parallel()
	require.Equal(t, "api/a/r/3", redispubsub.Identity(beat("a", "r", 3)))
	first := redispubsub.Identity(beat("a", "", 3))
	require.True(t, strings.HasPrefix(first, "api/a/3-"))
	require.NotEqual(t, first, redispubsub.Identity(strings.Replace(beat("a", "", 3), "now", "then", 1)), "of another life")
	for _, payload := range []string{
		"", "x", "3", "{", `{"service_name":"api"}`, beat("a", "r", 0), beat("a", "r", -1), `{"service_name":3,"instance_id":"a","heartbeat_count":1}`,
		beat(strings.Repeat("x", 500), "", 1),
	} {
		require.Empty(t, redispubsub.Identity(payload), payload)
	}
}

func TestMissed_CountsEachOnce(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		run    string
		counts []int
		missed int64
	}{
		"none":                               {"r", []int{5, 6, 7}, 0},
		"a gap":                              {"r", []int{5, 9}, 3},
		"one is late":                        {"r", []int{5, 7, 6, 8}, 0},
		"late, twice":                        {"r", []int{5, 8, 6, 6, 9}, 1},
		"each twice":                         {"r", []int{5, 5, 7, 7, 6, 6}, 0},
		"before the first":                   {"r", []int{5, 4, 3}, 0},
		"a long gap":                         {"r", []int{1, 1002, 900}, 1000},
		"late by as much as is known":        {"r", []int{1, 65, 2, 1}, 62},
		"a new life that doesn't say so":     {"", []int{500, 501, 1, 2, 4}, 1},
		"far too late, in the same life":     {"r", []int{500, 501, 1, 2, 503}, 1},
		"a short life, and then another one": {"", []int{1, 2, 3, 1, 2, 3, 4}, 0},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var heard []string
			for _, n := range tt.counts {
				heard = append(heard, beat("a", tt.run, n), beat("other", "r", len(heard)/2+1))
			}
			require.Equal(t, tt.missed, redispubsub.Missed(heard...))
		})
	}
	require.Less(t, redispubsub.Senders(22_000, func(i int) string { return beat(strconv.Itoa(i), "r", 1) }), 20_001)
}

// A second consumer of a source that has ended is told so: it would wait for ever.
func TestSource_IsForOneConsumer(t *testing.T) {
	t.Parallel()
	rdb, name := shared(t)
	src := listen(t, rdb, config(name))
	require.NoError(t, src.Close(t.Context()))
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	_, err := src.Receive(ctx, consumer.Credit{Count: 1, Bytes: 1})
	require.ErrorContains(t, err, "closed by the consumer that had it")
}
