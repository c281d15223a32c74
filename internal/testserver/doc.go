// Package testserver starts real Redis and Postgres servers for tests, private ones that a test may kill, pause and
// restart, and leaves nothing behind.
//
//	func TestStore_SurvivesKill(t *testing.T) {
//		pg := testserver.StartPostgres(t, testserver.PostgresConfig{Durable: true})
//		…
//		pg.Kill()
//		pg.Start() // same port, same data
//	}
//
// [RedisURL] and [DatabaseURL] hand out servers that all tests of the process share; the Start functions give a test its
// own. [StartProxy] puts a network that can fail between a client and a server.
//
// # What it guarantees
//
// A server that is returned answers. Its port stays its own through kills and restarts for as long as the test process
// lives: no other server of this package, in this process or in another, takes it. Private servers end with their test.
// When the process ends, however it does (a panic, a timeout, os.Exit, an interrupt, kill -9), a reaper ends all of its
// servers and removes their folders within seconds.
//
// # What it does not
//
// A server that was killed keeps what the operating system had: kill -9 is not a power failure. A proxy works on bytes
// above TCP: the kernel still acknowledges what a client sends into a black hole.
//
// # Without servers
//
// Where a program is missing the test is skipped with the command that installs it, or fails when the environment has
// UPBEAT_REQUIRE_SERVERS=1. REDIS_URL and DATABASE_URL name servers that are already there, for the shared ones alone. On systems
// without Unix signals every test that asks for a server is skipped.
//
// # Concurrency
//
// Everything may be called from any goroutine; what is done to one server is done one after another. A failure calls Fatalf
// of the test that started the server: on another goroutine than the test's, it marks the test as failed and ends that
// goroutine, deferred calls included, while the test goes on.
package testserver
