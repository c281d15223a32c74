package main

import (
	"context"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/heartbeat"
)

// What follows is the pattern to copy: for each kind of service one function that says what its beats tell. It asks
// for the few methods that it needs, so that it is tested with three lines of pretence, and it starts nothing:
// that is for the main function, which runs the manager for as long as the service works.

// trackerFetcher is what a beat of the tracker fetcher is made of.
type trackerFetcher interface {
	QueueSize() int
	APIStatus(ctx context.Context) (string, error)
}

// trackerFetcherHeartbeat returns the manager of a tracker fetcher: queue_size, api_status, and
// last_successful_operation, which is when fetched was last called. Without a success for ten minutes the status is
// "degraded".
func trackerFetcherHeartbeat(rdb redis.UniversalClient, f trackerFetcher, cfg heartbeat.ManagerConfig) (m *heartbeat.Manager, fetched func(), err error) {
	m, err = heartbeat.NewManager(rdb, "tracker_fetcher", cfg)
	if err != nil {
		return nil, nil, err
	}
	m.QueueSize(f.QueueSize)
	m.APIStatus(f.APIStatus)
	return m, m.LastSuccess(10 * time.Minute), nil
}

// geocoder is what a beat of the geocoding service is made of.
type geocoder interface {
	CacheSize() int
	PendingRequests() int
}

// geocodingHeartbeat returns the manager of a geocoding service: cache_size and pending_requests.
func geocodingHeartbeat(rdb redis.UniversalClient, g geocoder, cfg heartbeat.ManagerConfig) (*heartbeat.Manager, error) {
	m, err := heartbeat.NewManager(rdb, "geocoding_service", cfg)
	if err != nil {
		return nil, err
	}
	m.CacheSize(g.CacheSize)
	m.PendingRequests(g.PendingRequests)
	return m, nil
}

// geofencer is what a beat of the geofence service is made of.
type geofencer interface {
	ActiveGeofences() int
	PendingEvents() int
}

// geofenceHeartbeat returns the manager of a geofence service: active_geofences and pending_events. There is no method
// for these two, as they are this service's own: any number is a Gauge, and anything else goes to Collect.
func geofenceHeartbeat(rdb redis.UniversalClient, g geofencer, cfg heartbeat.ManagerConfig) (*heartbeat.Manager, error) {
	m, err := heartbeat.NewManager(rdb, "geofence_service", cfg)
	if err != nil {
		return nil, err
	}
	m.Gauge("active_geofences", func() float64 { return float64(g.ActiveGeofences()) })
	m.Gauge("pending_events", func() float64 { return float64(g.PendingEvents()) })
	return m, nil
}
