// Package consumertest has an in-memory source, for tests of handlers and of what is built around a consumer.
//
//	src := consumertest.NewSource()
//	src.Publish(`{"id":1}`, `{"id":2}`)
//	c, err := consumer.New(src, handler, consumer.Config{})
//	…
//	wg.Go(func() { err = c.Run(ctx) })
//	err = src.Wait(ctx) // until both are acked or dead
//
// It keeps the promises of a consumer.Source, for as long as the process lives: what isn't settled is delivered again by the
// next consumer that reads from it. Time is package time's, so it works in a testing/synctest bubble.
//
// All methods are safe for concurrent use. It holds nothing that would have to be closed.
package consumertest
