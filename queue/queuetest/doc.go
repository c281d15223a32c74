// Package queuetest has a tracker in memory for the tests of services that use [github.com/upbeat-go/upbeat/queue], and the contract of
// trackers as a test suite that any of them can run.
package queuetest
