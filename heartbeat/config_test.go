package heartbeat_test

import (
	"math"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/heartbeat"
)

func unconnected(t *testing.T) *redis.Client {
	t.Helper()
	rdb := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	t.Cleanup(func() { require.NoError(t, rdb.Close()) })
	return rdb
}

func TestConfig_ZeroIsGood(t *testing.T) {
	t.Parallel()
	pub, err := heartbeat.NewPublisher(unconnected(t), "tracker_fetcher", heartbeat.Config{})
	require.NoError(t, err)
	require.Regexp(t, regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`), pub.Instance())

	channels, key, retain, err := heartbeat.Config{Instance: "pod-1"}.Places("tracker_fetcher")
	require.NoError(t, err)
	require.Equal(t, []string{"health:service:tracker_fetcher:heartbeat"}, channels)
	require.Equal(t, "health:last:tracker_fetcher:pod-1", key)
	require.Equal(t, 10*time.Minute, retain)

	channels, _, retain, err = heartbeat.Config{
		Interval: time.Second, Channels: []string{heartbeat.DefaultChannel, heartbeat.ShortChannel},
	}.Places("tracker_fetcher")
	require.NoError(t, err)
	require.Equal(t, []string{"health:service:tracker_fetcher:heartbeat", "heartbeat:service:tracker_fetcher"}, channels)
	require.Equal(t, time.Minute, retain)
}

func TestConfig_WrongFieldIsNamed(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		cfg  heartbeat.Config
		want string
	}{
		"interval short":   {heartbeat.Config{Interval: 50 * time.Millisecond}, "heartbeat: Config.Interval is 50ms: want 100ms to 24h0m0s, or 0 for 60s"},
		"interval long":    {heartbeat.Config{Interval: 25 * time.Hour}, "Config.Interval is 25h0m0s"},
		"interval minus":   {heartbeat.Config{Interval: -1}, "Config.Interval is -1ns"},
		"jitter":           {heartbeat.Config{Jitter: 0.6}, "Config.Jitter is 0.6: want up to 0.5"},
		"jitter NaN":       {heartbeat.Config{Jitter: math.NaN()}, "Config.Jitter is NaN"},
		"instance":         {heartbeat.Config{Instance: "host:1"}, `Config.Instance can't be used: "host:1" contains ":"`},
		"channel typo":     {heartbeat.Config{Channels: []string{"x:{servcie}"}}, `Config.Channels has "x:{servcie}"`},
		"channel empty":    {heartbeat.Config{Channels: []string{""}}, "Config.Channels can't be used: it is empty"},
		"channel twice":    {heartbeat.Config{Channels: []string{"a:s", "a:{service}"}}, `Config.Channels names "a:s" twice`},
		"channels many":    {heartbeat.Config{Channels: strings.Split("a b c d e f g h i", " ")}, "Config.Channels has 9 entries"},
		"retain key":       {heartbeat.Config{RetainKey: "last:{service}"}, "want it to name {instance}"},
		"retain short":     {heartbeat.Config{Retain: time.Second}, "Config.Retain is 1s: want 4m0s to"},
		"stream":           {heartbeat.Config{Stream: "a\nb"}, "Config.Stream can't be used"},
		"stream length":    {heartbeat.Config{StreamMaxLen: 1 << 40}, "Config.StreamMaxLen is 1099511627776"},
		"timeout long":     {heartbeat.Config{Timeout: 31 * time.Second}, "Config.Timeout is 31s: want 10ms to 30s, or 0"},
		"timeout minus":    {heartbeat.Config{Timeout: -1}, "Config.Timeout is -1ns"},
		"collect timeout":  {heartbeat.Config{CollectTimeout: 6 * time.Second}, "Config.CollectTimeout is 6s: want 1ms to 5s"},
		"drain timeout":    {heartbeat.Config{DrainTimeout: -1}, "Config.DrainTimeout is -1ns"},
		"fields too many":  {heartbeat.Config{MaxFields: 129}, "Config.MaxFields is 129: want 1 to 128, or 0 for 64"},
		"bytes too many":   {heartbeat.Config{MaxBytes: 1 << 20}, "Config.MaxBytes is 1048576"},
		"bytes below none": {heartbeat.Config{MaxBytes: -1}, "Config.MaxBytes is -1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := heartbeat.NewPublisher(unconnected(t), "s", tt.cfg)
			require.ErrorContains(t, err, tt.want)
			require.NotContains(t, err.Error(), "\n", "one mistake, one message")
		})
	}
}

func TestConfig_AllMistakesAtOnce(t *testing.T) {
	t.Parallel()
	for _, none := range []redis.UniversalClient{nil, (*redis.Client)(nil), (*redis.ClusterClient)(nil)} {
		_, err := heartbeat.NewPublisher(none, "a b", heartbeat.Config{Interval: time.Millisecond, MaxFields: -2})
		for _, want := range []string{"rdb is nil", `service can't be used: "a b"`, "Config.Interval", "Config.MaxFields"} {
			require.ErrorContains(t, err, want)
		}
		require.Equal(t, 3, strings.Count(err.Error(), "\n"))
	}
	_, err := heartbeat.NewMonitor((*redis.Client)(nil), heartbeat.MonitorConfig{})
	require.EqualError(t, err, "heartbeat: rdb is a nil *redis.Client: want a Redis client, or nil itself for none")

	_, err = heartbeat.NewPublisher(unconnected(t), "a\nb", heartbeat.Config{Stream: "{service}"})
	require.EqualError(t, err, `heartbeat: service can't be used: "a\nb" contains the unprintable character U+000A`)
}

func TestConfig_CallersChannelsAreLeftAlone(t *testing.T) {
	t.Parallel()
	channels := []string{heartbeat.ShortChannel}
	_, err := heartbeat.NewPublisher(unconnected(t), "s", heartbeat.Config{Channels: channels})
	require.NoError(t, err)
	require.Equal(t, []string{heartbeat.ShortChannel}, channels)
}

func TestValidateName_Refuses(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"", "a:b", "a*", "a?", "[a", "a]", "{a", "a}", `a\b`, "a b", " ", "a\tb", "a\nb", "a\x00", "a\x7f", "\u00a0", "a\u200bb", "a\u202e", "\xff",
		strings.Repeat("a", 129),
	} {
		require.Error(t, heartbeat.ValidateName(name), "%q", name)
	}
	for _, name := range []string{"a", "tracker_fetcher", "pod-7.eu", "größe", "服务", strings.Repeat("a", 128)} {
		require.NoError(t, heartbeat.ValidateName(name), "%q", name)
	}
}
