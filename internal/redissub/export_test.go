package redissub

import "io"

// Reply is one reply, copied.
type Reply struct {
	Kind    byte
	Parts   []string
	Omitted int
}

// Decode reads replies until the first error, of which it tells none that is an end of input between replies.
func Decode(src io.Reader, limit int) (all []Reply, arena int, err error) {
	d := newDecoder(src, limit)
	for {
		r, err := d.next()
		arena = max(arena, cap(d.arena))
		if err != nil {
			return all, arena, err
		}
		c := Reply{Kind: r.kind, Omitted: r.omitted}
		for _, p := range r.parts {
			c.Parts = append(c.Parts, string(p))
		}
		all = append(all, c)
	}
}

// Decoding returns a function that reads one reply of src and keeps nothing.
func Decoding(src io.Reader, limit int) func() error {
	d := newDecoder(src, limit)
	return func() error {
		_, err := d.next()
		return err
	}
}
