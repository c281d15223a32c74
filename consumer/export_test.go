package consumer

// Queue exposes queue.
type Queue struct{ *queue[int] }

// NewQueue is newQueue.
func NewQueue() Queue { return Queue{newQueue[int](false)} }

// Push is queue.push of one message.
func (q Queue) Push(v int) bool { return q.push(&Message[int]{Value: v}) }

// Pop is queue.pop.
func (q Queue) Pop(n int) []int { return values(q.pop(nil, n)) }

// Swap is queue.swap.
func (q Queue) Swap(v int) int { return q.swap(&Message[int]{Value: v}).Value }

// Close is queue.close.
func (q Queue) Close() []int { return values(q.close()) }

// Hold is queue.hold.
func (q Queue) Hold(on bool) { q.hold(byOutage, on) }

func values(ms []*Message[int]) (vs []int) {
	for _, m := range ms {
		vs = append(vs, m.Value)
	}
	return vs
}
