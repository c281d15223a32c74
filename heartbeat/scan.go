package heartbeat

import (
	"encoding/binary"
	"math/bits"
	"time"
	"unicode/utf8"
)

// core is what a verdict needs of a beat. The names point into the payload.
type core struct {
	service, instance []byte
	run               uint64 // fingerprint of Beat.Run, 0 when not said
	count             uint64
	uptime            time.Duration
	interval, late    time.Duration
	memory, cpu       float64
	phase             Phase
	keeps             bool   // the sender has Redis keep its newest beat
	host              []byte // where it runs, nil when not said
}

// scanCore reads the core of a beat in one pass and without allocating. It takes what senders usually send: for
// everything out of the ordinary (escapes and unusual characters in what it needs, doubled names, strange numbers,
// any mistake) it says false, and the payload goes to ParseBeat. What it accepts, ParseBeat accepts, and with the
// same values.
func scanCore(payload []byte) (core, bool) {
	if len(payload) > MaxBeatBytes || !utf8.Valid(payload) {
		return core{}, false
	}
	s := scanner{text: payload}
	var c core
	var seen uint16 // one bit for each core name
	members := 0
	s.object(func(name []byte) {
		i := coreIndex(name)
		members++
		if i >= 0 && seen&(1<<i) != 0 || members > maxBeatFields {
			s.bad = true
			return
		}
		if i < 0 {
			s.skip(1)
			return
		}
		seen |= 1 << i
		s.core(i, &c)
	})
	s.space()
	ok := !s.bad && s.at == len(payload) && len(c.service) > 0 && len(c.instance) > 0
	return c, ok
}

const oursIndex = len(coreNames)

// coreIndex returns the place of name in coreNames, oursIndex for the reserved object, or -1.
func coreIndex(name []byte) int {
	switch string(name) {
	case "service_name":
		return 0
	case "instance_id":
		return 1
	case "timestamp":
		return 2
	case "uptime_seconds":
		return 3
	case "heartbeat_count":
		return 4
	case "memory_usage_mb":
		return 5
	case "cpu_usage_percent":
		return 6
	case reserved:
		return oursIndex
	}
	return -1
}

// scanner walks over a JSON text. Once bad is set it makes no more sense of it.
type scanner struct {
	text []byte
	at   int
	bad  bool
}

// core takes the value of a core name.
func (s *scanner) core(i int, c *core) {
	switch i {
	case 0:
		c.service = s.name()
	case 1:
		c.instance = s.name()
	case 2:
		t, err := time.Parse(time.RFC3339, string(s.plain()))
		s.bad = s.bad || err != nil || checkYear(t) != nil
	case 3:
		c.uptime = duration(s.number(), maxUptime)
	case 4:
		c.count = s.whole()
	case 5:
		c.memory = s.number()
	case 6:
		c.cpu = s.number()
	default:
		s.ours(c)
	}
}

// ours takes the reserved object. Its names are matched without regard to case by ParseBeat, so that one with
// unusual letters is for it to judge.
func (s *scanner) ours(c *core) {
	var seen uint8
	s.object(func(name []byte) {
		bit := uint8(0)
		switch string(name) {
		case "v":
			bit = 1
			s.whole()
		case "interval_seconds":
			bit = 2
			c.interval = duration(s.number(), maxInterval)
			if c.interval > 0 {
				c.interval = max(c.interval, minInterval)
			}
		case "state":
			bit = 4
			c.phase = knownPhase(s.plain())
		case "tick_late_seconds":
			bit = 8
			c.late = duration(s.number(), maxInterval)
		case "run":
			bit = 16
			c.run = fingerprint(s.name())
		case "retain_seconds":
			bit = 32
			c.keeps = s.number() > 0
		case "host":
			bit = 64
			c.host = s.name()
		case "stuck_seconds", "ages_seconds", "container": // for who asks for the whole beat
			s.skip(2)
		default:
			s.bad = true // not for this pass to judge
		}
		s.bad = s.bad || seen&bit != 0
		seen |= bit
	})
}

// object calls member for each member of the object that begins here; member is to take the value.
func (s *scanner) object(member func(name []byte)) {
	if s.space(); !s.take('{') {
		s.bad = true
		return
	}
	if s.space(); s.take('}') {
		return
	}
	for !s.bad {
		s.space()
		name := s.plain()
		if s.space(); s.bad || !s.take(':') {
			break
		}
		s.space()
		member(name)
		s.space()
		if s.take(',') {
			continue
		}
		if s.take('}') {
			return
		}
		break
	}
	s.bad = true
}

// skip takes any value, at the given depth of nesting.
func (s *scanner) skip(depth int) {
	if s.at >= len(s.text) || depth > maxBeatDepth {
		s.bad = true
		return
	}
	switch s.text[s.at] {
	case '"':
		s.plain()
	case '{':
		s.object(func([]byte) { s.skip(depth + 1) })
		s.bad = s.bad || depth+1 > maxBeatDepth
	case '[':
		s.array(depth + 1)
	case 't':
		s.word("true")
	case 'f':
		s.word("false")
	case 'n':
		s.word("null")
	default:
		s.numeral()
	}
}

func (s *scanner) array(depth int) {
	s.at++
	s.bad = s.bad || depth > maxBeatDepth
	if s.space(); s.take(']') {
		return
	}
	for !s.bad {
		s.space()
		s.skip(depth)
		s.space()
		if s.take(']') {
			return
		}
		if !s.take(',') {
			break
		}
	}
	s.bad = true
}

func (s *scanner) word(w string) {
	if len(s.text)-s.at < len(w) || string(s.text[s.at:s.at+len(w)]) != w {
		s.bad = true
		return
	}
	s.at += len(w)
}

func (s *scanner) space() {
	for s.at < len(s.text) {
		switch s.text[s.at] {
		case ' ', '\n', '\t', '\r':
			s.at++
		default:
			return
		}
	}
}

func (s *scanner) take(c byte) bool {
	if s.at < len(s.text) && s.text[s.at] == c {
		s.at++
		return true
	}
	return false
}

// plain takes a string without escapes and returns what is between the quotes.
func (s *scanner) plain() []byte {
	if !s.take('"') {
		s.bad = true
		return nil
	}
	from := s.at
	for len(s.text)-s.at >= 8 {
		if odd := unusual(binary.LittleEndian.Uint64(s.text[s.at:])); odd != 0 {
			s.at += bits.TrailingZeros64(odd) / 8
			break
		}
		s.at += 8
	}
	for ; s.at < len(s.text); s.at++ {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return s.text[from : s.at-1]
		case c == '\\' || c < ' ':
			s.bad = true
			return nil
		}
	}
	s.bad = true
	return nil
}

// unusual sets the high bit of the first byte (in memory) of word that is a quote, a backslash or under a space;
// later bytes may be marked without a reason. After "Determine if a word has a byte less than n" of Sean Anderson's
// Bit Twiddling Hacks.
func unusual(word uint64) uint64 {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	quote, backslash := word^(ones*'"'), word^(ones*'\\')
	return ((word-ones*' ')&^word | (quote-ones)&^quote | (backslash-ones)&^backslash) & highs
}

// name takes a string that may name an instance: short and plain ASCII.
func (s *scanner) name() []byte {
	name := s.plain()
	if len(name) == 0 || len(name) > maxNameBytes {
		s.bad = true
	}
	for _, c := range name {
		if c < ' ' || c > '~' {
			s.bad = true
		}
	}
	return name
}

func knownPhase(text []byte) Phase {
	switch string(text) {
	case string(PhaseRunning):
		return PhaseRunning
	case string(PhaseStuck):
		return PhaseStuck
	case string(PhaseDraining):
		return PhaseDraining
	case string(PhaseStopped):
		return PhaseStopped
	}
	return ""
}

// fingerprint is FNV-1a (64 bits) of a run's name, never 0 unless that is empty: runs are only compared, and a beat
// of another run that were taken for the same one is still judged by its count.
func fingerprint[T []byte | string](run T) uint64 {
	if len(run) == 0 {
		return 0
	}
	h := uint64(14695981039346656037)
	for i := range len(run) {
		h = (h ^ uint64(run[i])) * 1099511628211
	}
	return max(h, 1)
}

// coreOf returns the core of a beat that was read by ParseBeat.
func coreOf(b *Beat) core {
	c := core{
		service: []byte(b.Service), instance: []byte(b.Instance), run: fingerprint(b.Run), count: b.Count,
		uptime: b.Uptime, interval: b.Interval, late: b.TickLate, memory: b.MemoryMB, cpu: b.CPUPercent,
		phase: b.Phase, keeps: b.retained,
	}
	if b.host != "" {
		c.host = []byte(b.host)
	}
	return c
}
