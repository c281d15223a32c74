package consumertest

import (
	"testing"
	"time"

	"github.com/upbeat-go/upbeat/consumer"
)

// Harness is a broker with no messages yet, for one test of the suite. Open and Publish are required. Without one of the hooks below them, the tests
// that need it are skipped. All are called by one goroutine; they fail the test by themselves, and clean up by its Cleanup.
type Harness struct {
	// Open returns a source for what is published, as a process makes one that starts: its methods are called as by a consumer, and Close, if it has
	// that, in the end. Where the broker keeps nothing for those who don't listen, the source already listens.
	Open func() consumer.Source
	// OpenMany opens a source that is a consumer.Parallel of several readers, where Open returns one with a single reader. It is called before Publish,
	// which then has work for all of them. nil if there are no such sources.
	OpenMany func() consumer.Source
	// Publish adds messages with these payloads.
	Publish func(payloads ...[]byte)
	// AtMostOnce says that messages end with the source that was to deliver them.
	AtMostOnce bool

	// Dead returns the payloads of all dead letters, for a consumer.DeadKeeper.
	Dead func() [][]byte
	// Break lets no call to the broker succeed until mend.
	Break func() (mend func())
	// LoseReplies lets the broker do what it is asked for, and keeps its answers back until mend.
	LoseReplies func() (mend func())
	// Trim removes all messages from the broker, those included that a source has received.
	Trim func()
	// Evict removes everything from the broker, what it knows of consumers included.
	Evict func()
	// Jump sets the broker's clock forward by an hour.
	Jump func()

	// Patience is how long the suite waits for what should happen soon. 0 means 20 s.
	Patience time.Duration
}

// TestSource tests whether a source keeps the contract of [consumer.Source], and of those of the optional interfaces that it has. It runs its tests
// in parallel, each with a harness of its own, and takes a few leases of a [consumer.Leaser]: give it a short one.
func TestSource(t *testing.T, harness func(tb testing.TB) Harness) {
	t.Helper()
	for name, check := range checks {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check(newFixture(t, harness(t)))
		})
	}
}

// checks are the tests of the suite.
var checks = map[string]func(*fixture){
	"Receive_TakesNoMoreThanItsCount":     receiveCount,
	"Receive_TakesAboutItsBytes":          receiveBytes,
	"Receive_KeepsNothingBack":            receiveAtOnce,
	"Receive_ObeysItsContext":             receiveContext,
	"Receive_DeliversEachOnceAsPublished": receiveFaithfully,
	"Receive_ByAllReadersEachOnce":        receiveParallel,
	"Settle_AckIsForGood":                 settleAck,
	"Settle_RetryCountsAndWaits":          settleRetry,
	"Settle_ReleaseDoesNotCount":          settleRelease,
	"Settle_AgainChangesNothing":          settleAgain,
	"Settle_EachOfABatchByItself":         settleMixed,
	"Settle_DoesNotKeepTheSlice":          settleSlice,
	"Settle_BesideReceive":                settleBeside,
	"Settle_DeadIsKeptOnce":               settleDead,
	"Successor_GetsWhatWasNotSettled":     successorUnsettled,
	"Successor_KnowsTheAttempts":          successorAttempts,
	"Lease_HoldsWhileItIsExtended":        leaseExtended,
	"Lease_ThatIsOverGoesToAnother":       leaseLost,
	"Lag_IsWhatNobodyWasGiven":            lagCounts,
	"Broken_ObeysContextsAndLosesNothing": brokenBroker,
	"LostReplies_OfSettleCountOnce":       lostSettle,
	"LostReplies_OfReceiveLoseNothing":    lostReceive,
	"Trimmed_WhileHeld":                   trimmedHeld,
	"Evicted_GoesOn":                      evicted,
	"ClockJump_ChangesNothing":            clockJump,
}
