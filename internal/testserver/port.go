package testserver

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
)

const (
	// Ports are below the range from which systems give ports to outgoing connections, and a Redis Cluster bus (10,000
	// higher) is as well.
	firstPort = 10000
	lastPort  = 21999
	busOffset = 10000
)

// held keeps the sockets that lock the ports of this process, for as long as it lives.
var held struct {
	mu    sync.Mutex
	locks []net.PacketConn
}

// holdPort finds a free TCP port, and locks it against all other tests on this machine until the process ends. The lock is the UDP
// port of the same number: the kernel gives it to one process alone and takes it back however that ends, so a server that was
// killed finds its port free. With bus, the port of the Cluster bus is held as well.
func holdPort(ctx context.Context, bus bool) (int, error) {
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		ports := []int{port}
		if bus {
			ports = append(ports, port+busOffset)
		}
		if lockPorts(ctx, ports) {
			return port, nil
		}
	}
	return 0, fmt.Errorf("testserver: no free port among 1000 tried between %d and %d", firstPort, lastPort)
}

// lockPorts locks all or none.
func lockPorts(ctx context.Context, ports []int) bool {
	var locks []net.PacketConn
	for _, port := range ports {
		lock, err := lockPort(ctx, port)
		if err != nil {
			for _, lock := range locks {
				_ = lock.Close()
			}
			return false
		}
		locks = append(locks, lock)
	}
	held.mu.Lock()
	defer held.mu.Unlock()
	held.locks = append(held.locks, locks...)
	return true
}

func lockPort(ctx context.Context, port int) (net.PacketConn, error) {
	var lc net.ListenConfig
	lock, err := lc.ListenPacket(ctx, "udp4", localAddr(port))
	if err != nil {
		return nil, err
	}
	// The range is ours by custom only: somebody who knows nothing of the lock may be there.
	ln, err := lc.Listen(ctx, "tcp4", localAddr(port))
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	return lock, ln.Close()
}

func localAddr(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
