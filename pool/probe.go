package pool

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/upbeat-go/upbeat/internal/redislink"
)

// checkTimeout bounds the question to one node. All are asked at the same time.
const checkTimeout = 2 * time.Second

// probe asks one node, on a connection outside of the pool: callers who hold all of the pool's can't blind it.
type probe struct {
	origin  *redis.Client // whose settings the connection has
	addr    string
	follows bool            // addr is where Sentinels lead to
	link    *redislink.Link // nil: to be made

	// unheard is how often in a row the connection ended at the questions beyond PING: that is how some proxies answer a command that
	// they don't know.
	unheard int
}

// mostUnheard is where the probe stops asking.
const mostUnheard = 2

// ask returns what the node says. A connection that was open may have died of old age, so another is tried before the node counts as down.
//
// Behind Sentinels each question has its own: a master that they have replaced may take itself for the master for another ten
// seconds. To connect is to ask them, which has go-redis follow a failover even if it has missed the news.
func (p *probe) ask(ctx context.Context, cfg Config) NodeHealth {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	if p.follows {
		defer p.close()
	}
	if p.link != nil {
		half, cancel := context.WithTimeout(ctx, checkTimeout/2)
		n, err := p.question(half, cfg.Cluster)
		cancel()
		if err == nil {
			return n
		}
		p.close()
	}
	err := p.connect(ctx)
	if err == nil {
		var n NodeHealth
		if n, err = p.question(ctx, cfg.Cluster); err == nil {
			return n
		}
		p.close()
	}
	return NodeHealth{Addr: p.addr, Error: cfg.diagnosis(err) + ": " + err.Error()}
}

func (p *probe) connect(ctx context.Context) (err error) {
	p.link, err = redislink.Dial(ctx, p.origin, checkTimeout, func(*redis.Options) {}, func(ctx context.Context, l *redislink.Link) error {
		return allowed(l.Conn.Ping(ctx).Err())
	})
	if err != nil {
		p.link = nil
		return err
	}
	if p.follows {
		p.addr = p.link.Socket().RemoteAddr().String()
	}
	return nil
}

func (p *probe) close() {
	if p.link != nil {
		p.link.Close()
		p.link = nil
	}
}

// question fails where PING does, or the answer is an excuse.
func (p *probe) question(ctx context.Context, cluster bool) (NodeHealth, error) {
	defer context.AfterFunc(ctx, p.link.Sever)()
	n := NodeHealth{Addr: p.addr}
	start := time.Now()
	if err := allowed(p.link.Conn.Ping(ctx).Err()); err != nil {
		return n, err
	}
	n.RoundTripSeconds, n.Up = time.Since(start).Seconds(), true
	if p.unheard >= mostUnheard {
		return n, nil
	}
	if err := n.learn(ctx, p.link.Conn, cluster); err != nil {
		p.unheard++
		p.close()
		return n, nil // it is up
	}
	p.unheard = 0
	return n, nil
}

// learn asks for what an operator wants to see. Redis 6 takes one section of INFO at a time.
func (n *NodeHealth) learn(ctx context.Context, conn *redis.Conn, cluster bool) error {
	var (
		role  *redis.Cmd
		infos []*redis.StringCmd
	)
	_, err := conn.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		role = pipe.Do(ctx, "role")
		for _, section := range []string{"server", "memory", "replication"} {
			infos = append(infos, pipe.Info(ctx, section))
		}
		if cluster {
			infos = append(infos, pipe.ClusterInfo(ctx))
		}
		return nil
	})
	if err != nil && !isReply(err) {
		return err
	}
	fields := make(map[string]string)
	for _, info := range infos {
		for line := range strings.Lines(info.Val()) {
			if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
				fields[name] = value
			}
		}
	}
	n.fill(fields)
	if n.Role == "" {
		n.fillRole(role)
	}
	return nil
}

func (n *NodeHealth) fill(fields map[string]string) {
	n.Role = roleName(fields["role"])
	n.ReplicationLink = fields["master_link_status"]
	n.Replicas, _ = strconv.Atoi(fields["connected_slaves"])
	n.UsedMemory, _ = strconv.ParseInt(fields["used_memory"], 10, 64)
	n.MaxMemory, _ = strconv.ParseInt(fields["maxmemory"], 10, 64)
	n.clusterState = fields["cluster_state"]
	for _, kind := range []string{"valkey", "dragonfly", "redis"} { // all of them have a redis_version
		if version := fields[kind+"_version"]; version != "" {
			n.Version = kind + " " + version
			return
		}
	}
}

// fillRole is for a user who may ask for ROLE, not for INFO.
func (n *NodeHealth) fillRole(role *redis.Cmd) {
	reply, err := role.Slice()
	if err != nil || len(reply) == 0 {
		return
	}
	name, _ := reply[0].(string)
	n.Role = roleName(name)
	if n.Role == replica && len(reply) > 3 {
		n.ReplicationLink = linkDown
		if reply[3] == "connected" {
			n.ReplicationLink = linkUp
		}
	}
}

func roleName(role string) string {
	if role == "slave" {
		return replica
	}
	return role
}

// allowed is nil for a user who may not PING: the server has answered.
func allowed(err error) error {
	if redis.IsPermissionError(err) {
		return nil
	}
	return err
}
