package consumertest_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/upbeat-go/upbeat/consumer/consumertest"
)

// faults are ways to break the contract, by a check that each of them fails.
var faults = map[string][]string{
	"Receive_TakesNoMoreThanItsCount":     {"the count is ignored"},
	"Receive_TakesAboutItsBytes":          {"the bytes are ignored", "none fits"},
	"Receive_KeepsNothingBack":            {"Receive waits for a batch"},
	"Receive_ObeysItsContext":             {"Receive ignores its context"},
	"Receive_DeliversEachOnceAsPublished": {"IDs repeat", "payloads are strings of C", "each comes twice"},
	"Receive_ByAllReadersEachOnce":        {"each reader gets all"},
	"Settle_AckIsForGood":                 {"an ack ends the lease alone"},
	"Settle_RetryCountsAndWaits":          {"a retry isn't counted", "a retry comes at once", "a pause stops all", "the time is that of the delivery"},
	"Settle_ReleaseDoesNotCount":          {"a release is counted", "a release comes at once"},
	"Settle_AgainChangesNothing":          {"outcomes count each time"},
	"Settle_EachOfABatchByItself":         {"the first outcome is that of all"},
	"Settle_DoesNotKeepTheSlice":          {"the slice is kept"},
	"Settle_BesideReceive":                {"Settle waits for Receive"},
	"Settle_DeadIsKeptOnce":               {"the dead are kept each time", "the dead come again", "the dead are gone"},
	"Successor_GetsWhatWasNotSettled":     {"Close forgets", "a delivery is an attempt"},
	"Successor_KnowsTheAttempts":          {"attempts are the consumer's"},
	"Lease_HoldsWhileItIsExtended":        {"Extend does nothing"},
	"Lease_ThatIsOverGoesToAnother":       {"Extend steals back", "what is lost isn't told", "a late outcome counts"},
	"Lag_IsWhatNobodyWasGiven":            {"the lag has what is held"},
	"Broken_ObeysContextsAndLosesNothing": {"Settle ignores its context", "what was not stored is reported as stored"},
	"LostReplies_OfSettleCountOnce":       {"outcomes count each time"},
	"LostReplies_OfReceiveLoseNothing":    {"what was not answered is done"},
	"Trimmed_WhileHeld":                   {"what was trimmed can't be settled", "what was trimmed isn't counted"},
	"Evicted_GoesOn":                      {"what was evicted can't be settled"},
	"ClockJump_ChangesNothing":            {"leases are those of the wall clock"},
}

func TestTestSource_PassesWhatKeepsTheContract(t *testing.T) {
	t.Parallel()
	for _, check := range consumertest.Checks() {
		require.Empty(t, run(t, check, ""), check)
	}
}

func TestTestSource_FailsWhatBreaksIt(t *testing.T) {
	t.Parallel()
	for _, check := range consumertest.Checks() {
		assert.NotEmpty(t, faults[check], "nothing shows that %s can fail", check)
		for _, fault := range faults[check] {
			assert.NotEmpty(t, run(t, check, fault), "%q gets past %s", fault, check)
		}
	}
}

// run runs one check in fake time against a broker with a fault, and returns how it failed.
func run(t *testing.T, check, fault string) (failures []string) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		rec := &recorder{TB: t}
		var running sync.WaitGroup
		running.Go(func() { consumertest.Check(rec, check, (&broker{fault: fault}).harness()) })
		running.Wait()
		for _, cleanup := range slices.Backward(rec.cleanups) {
			cleanup()
		}
		<-time.After(2 * time.Minute) // for what ignores its context
		failures = rec.failures
	})
	return failures
}

// recorder is a test that may fail.
type recorder struct {
	testing.TB

	mu       sync.Mutex
	failures []string
	cleanups []func()
}

func (r *recorder) Helper()                  {}
func (r *recorder) Cleanup(f func())         { r.cleanups = append(r.cleanups, f) }
func (r *recorder) Context() context.Context { return context.Background() }
func (r *recorder) FailNow()                 { runtime.Goexit() }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	r.FailNow()
}

func (r *recorder) Skip(args ...any)                 { r.Fatalf("skipped: %v", args) }
func (r *recorder) Skipf(format string, args ...any) { r.Fatalf("skipped: "+format, args...) }
