// Package heartbeattest is for tests of services that beat and of programs that watch, without a Redis.
//
// A [Recorder] has a Redis client for a heartbeat.Publisher or a heartbeat.Manager that keeps what they send, and works
// with simulated time as well as with real time:
//
//	synctest.Test(t, func(t *testing.T) {
//		rec := heartbeattest.NewRecorder()
//		defer rec.Close()
//		svc := newService(rec.Client())
//		go svc.Run(ctx)
//		<-time.After(5 * time.Minute)
//		require.Len(t, rec.Beats(), 6)
//	})
//
// Nothing in this package is for use outside of tests.
package heartbeattest
