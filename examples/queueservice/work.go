package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/upbeat-go/upbeat/queue"
)

// text is what a client asks to have processed, and answer what becomes of it.
type text struct {
	Text string `json:"text"`
}

type answer struct {
	Final string `json:"final_result"`
}

// pipeline has two steps side by side and joins their results in a third. What is done in each is for show; what is recorded is not done again when a
// request is tried again, nor when another process takes it over.
func pipeline(scale float64) func(context.Context, *queue.Task[text]) (answer, error) {
	return func(ctx context.Context, t *queue.Task[text]) (answer, error) {
		var upper string
		var words int
		err := queue.Together(ctx,
			func(ctx context.Context) (err error) {
				upper, err = queue.Step(ctx, t, "step1", func(ctx context.Context) (string, error) {
					return strings.ToUpper(t.Payload.Text), pause(ctx, scale*1)
				})
				return err
			},
			func(ctx context.Context) (err error) {
				words, err = queue.Step(ctx, t, "step2", func(ctx context.Context) (int, error) {
					return len(strings.Fields(t.Payload.Text)), pause(ctx, scale*2.5)
				})
				return err
			})
		if err != nil {
			return answer{}, err
		}
		return queue.Step(ctx, t, "join", func(ctx context.Context) (answer, error) {
			return answer{fmt.Sprintf("%s (%d words)", upper, words)}, pause(ctx, scale*1)
		})
	}
}

// pause is where a service would call others.
func pause(ctx context.Context, seconds float64) error {
	select {
	case <-time.After(time.Duration(seconds * float64(time.Second))):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
