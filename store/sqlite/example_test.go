package sqlite_test

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/upbeat-go/upbeat/store"
	"github.com/upbeat-go/upbeat/store/sqlite"
)

func Example() {
	dir, err := os.MkdirTemp("", "upbeat")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	ctx := context.Background()
	db, err := sqlite.Open(ctx, filepath.Join(dir, "upbeat.db"), sqlite.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if err := db.Migrate(ctx); err != nil {
		log.Fatal(err)
	}

	beat := store.Message{
		ID: "health:messages/1760000000000-0", At: time.Now(), Service: "geocoding", Instance: "host-1",
		Count: 1, Status: "running", Payload: []byte(`{"cache_size":1000}`),
	}
	for range 2 { // delivered twice, stored once
		n, err := db.Record(ctx, []store.Message{beat})
		fmt.Println("stored", n, err)
	}
	services, err := db.Services(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range services {
		fmt.Println(s.Service, "is", s.Status, "on", s.Instances[0].Instance)
	}
	// Output:
	// stored 1 <nil>
	// stored 0 <nil>
	// geocoding is running on host-1
}
