package heartbeat

import "strconv"

// numeral takes a number as JSON spells it.
func (s *scanner) numeral() []byte {
	from := s.at
	s.take('-')
	if !s.take('0') {
		s.digits()
	}
	if s.take('.') {
		s.digits()
	}
	if s.take('e') || s.take('E') {
		if !s.take('+') {
			s.take('-')
		}
		s.digits()
	}
	return s.text[from:s.at]
}

func (s *scanner) digits() {
	from := s.at
	for s.at < len(s.text) && s.text[s.at]-'0' <= 9 {
		s.at++
	}
	s.bad = s.bad || s.at == from
}

// number takes a number of a core field. Those with few digits, which are nearly all, are exact in two steps: both
// parts fit into 53 bits and the power of ten is exact, so that the quotient is rounded once, as by ParseFloat.
func (s *scanner) number() float64 {
	text := s.numeral()
	mantissa, scale, point := uint64(0), 0, false
	for _, c := range text {
		switch {
		case c == '.':
			point = true
		case c-'0' <= 9:
			mantissa = mantissa*10 + uint64(c-'0')
			if point {
				scale++
			}
		default:
			scale = len(powers)
		}
		if scale >= len(powers) {
			break
		}
	}
	if len(text) <= 16 && scale < len(powers) {
		return float64(mantissa) / powers[scale]
	}
	x, err := strconv.ParseFloat(string(text), 64)
	s.bad = s.bad || err != nil
	return x
}

var powers = [...]float64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12}

// whole takes a number without sign, fraction and exponent of at most 15 digits.
func (s *scanner) whole() uint64 {
	text := s.numeral()
	n := uint64(0)
	for _, c := range text {
		s.bad = s.bad || c-'0' > 9
		n = n*10 + uint64(c-'0')
	}
	s.bad = s.bad || len(text) > 15
	return n
}
