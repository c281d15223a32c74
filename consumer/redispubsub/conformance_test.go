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
	consumertest.TestSource(t, func(t testing.TB) consumertest.Harness {
		direct, channel := shared(t)
		proxy := testserver.StartProxy(t, direct.Options().Addr)
		rdb := client(t, proxy.Addr())
		return consumertest.Harness{
			AtMostOnce: true,
			Open: func() consumer.Source {
				cfg := config(channel)
				cfg.MaxMessage = 10 << 20
				src, err := redispubsub.New(rdb, cfg)
				require.NoError(t, err)
				ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
				defer cancel()
				_, err = src.Receive(ctx, consumer.Credit{Count: 1, Bytes: 1})
				require.ErrorIs(t, err, context.DeadlineExceeded)
				eventually(t, func() bool { return src.Stats().Node != "" })
				return src
			},
			Publish: func(payloads ...[]byte) {
				pipe := direct.Pipeline()
				for _, p := range payloads {
					pipe.Publish(t.Context(), channel, p)
				}
				_, err := pipe.Exec(t.Context())
				require.NoError(t, err)
			},
			Break: func() func() {
				proxy.Refuse()
				return proxy.Pass
			},
		}
	})
}
