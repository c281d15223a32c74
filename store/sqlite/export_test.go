package sqlite

// Statements are those whose plans a test looks at, with the number of their parameters.
var Statements = map[string]struct {
	SQL        string
	Parameters int
}{
	"by id":          {requestSQL, 2},
	"transition":     {transitionSQL, 14},
	"unfinished":     {unfinishedSQL, 4},
	"page, open":     {openPageSQL + lastSQL, 9},
	"page, finished": {donePageSQL + pageOrderSQL + lastSQL, 9},
	"page, failed":   {troublePageSQL + pageOrderSQL + lastSQL, 9},
	"page, all":      {openPageSQL + " UNION ALL " + donePageSQL + pageOrderSQL + lastSQL, 9},
	"messages":       {messagesSQL, 8},
	"statistics":     {requestStatsSQL, 3},
	"waiting":        {waitingSQL, 1},
	"samples":        {samplesSQL, 7},
	"delete old":     {deleteRequestsSQL, 2},
	"delete samples": {deleteSamplesSQL, 2},
}
