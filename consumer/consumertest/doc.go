// Package consumertest has an in-memory source, for tests of handlers and of what is built around a consumer; and a suite of tests for sources.
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
// All its methods are safe for concurrent use. It holds no resources.
//
// # The suite
//
// [TestSource] tests a source of your own against the contract that package consumer states, as far as a [Harness] lets it:
//
//	func TestSource_KeepsTheContract(t *testing.T) {
//		consumertest.TestSource(t, func(tb testing.TB) consumertest.Harness {
//			b := startBroker(tb)
//			return consumertest.Harness{Open: b.open, Publish: b.publish, Break: b.cut}
//		})
//	}
//
// The sources of this library pass it. The package imports testing, so import it in tests alone.
package consumertest
