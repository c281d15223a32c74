package queue

// fifo is an unbounded first-in, first-out line, made of segments so that no push ever copies what waits already and
// a drained burst gives its memory back. It isn't safe for concurrent use.
type fifo[E any] struct {
	head, tail  *segment[E]
	first, last int // the next element to pop in head; the next place to push in tail
	len         int
	spare       *segment[E] // drained segments for reuse, so that a steady flow allocates nothing
	spares      int
}

const (
	segmentSize = 64
	maxSpares   = 1024
)

type segment[E any] struct {
	next     *segment[E]
	elements [segmentSize]E
}

// push appends a zero element and returns it to be filled in.
func (f *fifo[E]) push() *E {
	if f.tail == nil || f.last == segmentSize {
		f.extend()
	}
	e := &f.tail.elements[f.last]
	f.last++
	f.len++
	return e
}

// front returns the oldest element. The fifo must not be empty.
func (f *fifo[E]) front() *E { return &f.head.elements[f.first] }

// drop removes the oldest element, and forgets what it referred to.
func (f *fifo[E]) drop() {
	var zero E
	f.head.elements[f.first] = zero
	f.first++
	f.len--
	if f.first == segmentSize {
		f.retire()
	}
}

func (f *fifo[E]) extend() {
	s := f.spare
	if s == nil {
		s = new(segment[E])
	} else {
		f.spare, s.next = s.next, nil
		f.spares--
	}
	if f.tail == nil {
		f.head = s
	} else {
		f.tail.next = s
	}
	f.tail, f.last = s, 0
}

// retire puts the drained head segment aside.
func (f *fifo[E]) retire() {
	s := f.head
	f.head, f.first = s.next, 0
	if f.head == nil {
		f.tail = nil
	}
	if f.spares < maxSpares {
		f.spare, s.next = s, f.spare
		f.spares++
	}
}

// swap exchanges what waits. All spare segments stay with other, which is going to need them.
func (f *fifo[E]) swap(other *fifo[E]) {
	*f, *other = *other, *f
	if other.spare == nil {
		other.spare, other.spares = f.spare, f.spares
		f.spare, f.spares = nil, 0
	}
}

// trim gives back the spare segments.
func (f *fifo[E]) trim() { f.spare, f.spares = nil, 0 }
