// Package storetest is one suite of tests for every store: those of this library pass it, and any other one can
// show with it that it keeps the promises of package store.
//
//	func TestStore_Conformance(t *testing.T) {
//		storetest.Run(t, func(t *testing.T) storetest.Store { … })             // the log and the newest statuses
//		storetest.RunHealth(t, func(t *testing.T) storetest.HealthStore { … }) // alerts, uptime, rollups, questions
//	}
//
// The suite runs its tests in parallel, each on a store of its own. It waits for no time to pass and takes some seconds.
package storetest
