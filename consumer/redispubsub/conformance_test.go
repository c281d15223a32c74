package redispubsub_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/consumertest"
	"github.com/upbeat-go/upbeat/consumer/redispubsub"
	"github.com/upbeat-go/upbeat/internal/testserver"
)

func TestSource_KeepsTheContract(t *testing.T) {
	t.Parallel()
	consumertest.TestSource(t, func(tb testing.TB) consumertest.Harness {
		tb.Helper()
		direct, channel := shared(tb)
		proxy := testserver.StartProxy(tb, direct.Options().Addr)
		rdb := client(tb, proxy.Addr())
		return consumertest.Harness{
			AtMostOnce: true,
			Open: func() consumer.Source {
				cfg := config(channel)
				cfg.MaxMessage = 10 << 20
				src, err := redispubsub.New(rdb, cfg)
				require.NoError(tb, err)
				ctx, cancel := context.WithTimeout(tb.Context(), time.Millisecond)
				defer cancel()
				_, err = src.Receive(ctx, consumer.Credit{Count: 1, Bytes: 1})
				require.ErrorIs(tb, err, context.DeadlineExceeded)
				eventually(tb, func() bool { return src.Stats().Node != "" })
				return src
			},
			Publish: func(payloads ...[]byte) {
				pipe := direct.Pipeline()
				for _, p := range payloads {
					pipe.Publish(tb.Context(), channel, p)
				}
				_, err := pipe.Exec(tb.Context())
				require.NoError(tb, err)
			},
			Break: func() func() {
				proxy.Refuse()
				return proxy.Pass
			},
		}
	})
}
