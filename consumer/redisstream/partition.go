package redisstream

import (
	"hash/fnv"
	"strconv"

	"github.com/upbeat-go/upbeat/consumer"
)

// Partitions returns the names of the n streams that make up a partitioned one: name:0, name:1 and so on. In a cluster each has a slot of
// its own, unless name has a hash tag.
func Partitions(name string, n int) []string {
	names := make([]string, max(0, n))
	for i := range names {
		names[i] = name + ":" + strconv.Itoa(i)
	}
	return names
}

// PartitionOf returns to which of n partitions a key belongs, from 0: its 64-bit FNV-1a hash modulo n. That never changes, so that
// producers of any version and language agree. With another n most keys belong elsewhere: let the streams run empty before you change it.
func PartitionOf(key string, n int) int {
	h := fnv.New64a()
	_, _ = h.Write([]byte(key))
	return int(h.Sum64() % uint64(max(1, n)))
}

// The headers by which a Producer sends what isn't the payload.
const (
	keyHeader = "key"
	idHeader  = "id"
)

// Key returns the key with which a message was sent: a function for consumer.Config.Key.
func Key(m *consumer.Raw) string { return m.Header(keyHeader) }

// SenderID returns the ID that the sender gave the message, which is the same when it was sent twice; that of the entry if it gave none.
func SenderID(m *consumer.Raw) string {
	if id := m.Header(idHeader); id != "" {
		return id
	}
	return m.ID
}
