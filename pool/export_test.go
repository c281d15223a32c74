package pool

import (
	"context"
	"log/slog"
	"time"
)

// Diary is what Run writes.
type Diary struct{ d *diary }

func NewDiary(log *slog.Logger, s Stats) Diary { return Diary{newDiary(log, time.Second, s)} }

func (d Diary) Note(now time.Time, h Health) { d.d.note(context.Background(), now, h) }

func (d Diary) NotePool(now time.Time, s Stats) { d.d.notePool(context.Background(), now, s) }

func IsAlert(b []byte) bool { return isAlert(b) }
