// Package heartbeattest is for tests of services that beat and of programs that watch, without a Redis.
//
// A [Recorder] has a Redis client for a heartbeat.Publisher or a heartbeat.Manager that keeps what they send, and works
// with simulated time as well as with real time:
//
//	synctest.Test(t, func(t *testing.T) {
//		rec := heartbeattest.NewRecorder()
//		defer rec.Close()
//		svc := newService(rec.Client(), heartbeat.Config{Jitter: -1}) // else a beat more or less is a matter of chance
//		go svc.Run(t.Context())
//		<-time.After(5*time.Minute + time.Second)
//		require.Len(t, rec.Beats(), 6)
//	})
//
// A [Sender] makes up the beats of an instance for a heartbeat.Monitor, one when the test says so.
//
// Nothing in this package is for use outside of tests.
package heartbeattest
