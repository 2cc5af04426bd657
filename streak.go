package breakwater

import "github.com/breakwater-go/breakwater/internal/outcome"

// A streak follows the attempts at a circuit in the order in which they began.
// Results come in another order: a host that is overloaded refuses at once and
// answers late, so that its refusals seem to come in a row, and alone. What
// began earlier and has not failed yet has done better than what has.
//
// The circuit's lock guards it.
type streak struct {
	seq         uint64             // of the latest attempt
	first, last *pass              // attempts without a result, oldest first
	open        int                // how many
	good        uint64             // the latest attempt that succeeded
	failed      [longestRow]uint64 // the latest attempts that failed, in a ring
	at          int                // the ring's next place
	row         int                // failures in a row, as of the latest failure
	survivors   int                // attempts older than that which have not failed
}

// longestRow is how many failures in a row can be told.
const longestRow = 32

// begins takes in an attempt that was let through.
func (s *streak) begins(p *pass) {
	s.seq++
	p.seq = s.seq
	p.older, p.newer = s.last, nil
	if s.last == nil {
		s.first = p
	} else {
		s.last.newer = p
	}
	s.last = p
	s.open++
}

// ends takes in the attempt's first result.
func (s *streak) ends(p *pass, o outcome.Outcome) {
	if p.older == nil {
		s.first = p.newer
	} else {
		p.older.newer = p.newer
	}
	if p.newer == nil {
		s.last = p.older
	} else {
		p.newer.older = p.older
	}
	p.older, p.newer = nil, nil
	s.open--
	switch o {
	case outcome.Success:
		s.good = max(s.good, p.seq)
	case outcome.Failure:
		s.fails(p)
	}
}

// fails takes in a failure: of an attempt that ends with it, or, later, of one
// that had shown payload before.
func (s *streak) fails(p *pass) {
	s.failed[s.at%len(s.failed)] = p.seq
	s.at++
	younger, earlier := 0, s.last
	for earlier != nil && earlier.seq > p.seq {
		younger, earlier = younger+1, earlier.older
	}
	s.survivors = s.open - younger
	good := s.good
	if earlier != nil {
		good = max(good, earlier.seq)
	}
	s.row = 0
	for _, seq := range s.failed {
		if seq > good {
			s.row++
		}
	}
}
