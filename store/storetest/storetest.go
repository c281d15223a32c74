package storetest

import (
	"context"
	"testing"

	"github.com/upbeat-go/upbeat/store"
)

// Store is what the suite tests. Package store says what each method must do.
type Store interface {
	// Migrate makes or updates the tables. It can be called again, and by several callers at the same time.
	Migrate(ctx context.Context) error

	// Record stores what isn't stored yet and returns how many messages that was.
	Record(ctx context.Context, msgs []store.Message) (int, error)

	// Messages returns a page of the audit log, newest first.
	Messages(ctx context.Context, q store.MessageQuery) (store.MessagePage, error)

	// Services returns the newest status of each service, by name.
	Services(ctx context.Context) ([]store.ServiceStatus, error)

	// Maintain does what has to be done every hour or so.
	Maintain(ctx context.Context) error
}

// Run runs the suite. open returns a store that is empty, not migrated, keeps messages for 30 days, and is closed by the
// test's Cleanup.
func Run(t *testing.T, open func(t *testing.T) Store) {
	t.Helper()
	tests := map[string]func(fixture){
		"Record_EmptyBatchDoesNothing":             recordEmpty,
		"Record_GivesBackWhatItGot":                recordFaithfully,
		"Record_KeepsOddBytes":                     recordOddBytes,
		"Record_StoresOrRefusesAnyBytes":           recordAnyBytes,
		"Record_ReplayChangesNothing":              recordReplay,
		"Record_DuplicatesWithinBatchCountOnce":    recordDuplicates,
		"Record_SameIDAtOtherTimeIsAnotherMessage": recordSameID,
		"Record_RefusesByNameAndStoresTheRest":     recordRefused,
		"Record_BigBatch":                          recordBig,
		"Record_LeavesTheBatchAlone":               recordUnchanged,
		"Record_ManyWritersOfTheSame":              recordConcurrently,
		"Record_EndedContextStoresNothing":         recordEndedContext,
		"Services_NewestWins":                      servicesNewest,
		"Services_OnlyInsertedMessagesCount":       servicesReplay,
		"Services_MatchModel":                      servicesModel,
		"Messages_PagesAreComplete":                messagesPages,
		"Messages_PagesStayAlignedWhileWriting":    messagesStable,
		"Messages_Choose":                          messagesChoose,
		"Messages_RefuseBadQuery":                  messagesBadQuery,
		"Maintain_ForgetsSilentInstances":          maintainInstances,
		"Maintain_KeepsTheWindow":                  maintainWindow,
		"Maintain_BesideWriters":                   maintainConcurrently,
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := open(t)
			if err := s.Migrate(t.Context()); err != nil {
				t.Fatal(err)
			}
			test(fixture{t, s})
		})
	}
	t.Run("Migrate_AgainAndTogether", func(t *testing.T) {
		t.Parallel()
		migrateTogether(fixture{t, open(t)})
	})
	t.Run("Record_BeforeMigrateIsAnOutage", func(t *testing.T) {
		t.Parallel()
		recordUnmigrated(fixture{t, open(t)})
	})
}
