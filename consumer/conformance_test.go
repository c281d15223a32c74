package consumer_test

import (
	"testing"

	"github.com/upbeat-go/upbeat/consumer"
	"github.com/upbeat-go/upbeat/consumer/consumertest"
)

func TestFromChan_KeepsTheContract(t *testing.T) {
	t.Parallel()
	consumertest.TestSource(t, func(testing.TB) consumertest.Harness {
		ch := make(chan consumer.Raw, 10_000)
		src := consumer.FromChan(ch)
		return consumertest.Harness{
			Open: func() consumer.Source { return src },
			Publish: func(payloads ...[]byte) {
				for _, p := range payloads {
					ch <- consumer.Raw{Payload: p}
				}
			},
		}
	})
}

func TestMemory_KeepsTheContract(t *testing.T) {
	t.Parallel()
	consumertest.TestSource(t, func(testing.TB) consumertest.Harness {
		src := consumertest.NewSource()
		return consumertest.Harness{
			Open: func() consumer.Source { return src },
			Publish: func(payloads ...[]byte) {
				for _, p := range payloads {
					src.Publish(string(p))
				}
			},
			Dead: func() (payloads [][]byte) {
				for _, o := range src.Outcomes() {
					if o.Kind == consumer.Dead {
						payloads = append(payloads, o.Payload)
					}
				}
				return payloads
			},
		}
	})
}
