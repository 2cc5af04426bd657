package circuit

// MaxConsecutive bounds the failures in a row that are counted.
const MaxConsecutive = 32

// consecutive counts failures in a row, in the order in which the attempts began.
//
// Attempts end in another order: an overloaded host refuses at once and answers late, so
// refusals would seem to come in a row although other attempts succeed. An attempt that
// began earlier and has not failed yet has lasted longer than one that has, and ends the
// row as a success does.
//
// The circuit's mu guards it.
type consecutive struct {
	seq         uint64                 // number of the latest attempt
	first, last *Permit                // attempts without an outcome, oldest first
	open        int                    // number of these
	succeeded   uint64                 // the latest attempt that succeeded
	failed      [MaxConsecutive]uint64 // the latest attempts that failed, as a ring
	at          int                    // the next index of the ring
	length      int                    // failures in a row, as of the latest failure
	outstanding int                    // attempts that began before it and have not failed
}

// begin adds an attempt that was let through.
func (c *consecutive) begin(p *Permit) {
	c.seq++
	p.seq = c.seq
	p.older, p.newer = c.last, nil
	if c.last == nil {
		c.first = p
	} else {
		c.last.newer = p
	}
	c.last = p
	c.open++
}

// end removes an attempt that has its first outcome.
func (c *consecutive) end(p *Permit, o Outcome) {
	if p.older == nil {
		c.first = p.newer
	} else {
		p.older.newer = p.newer
	}
	if p.newer == nil {
		c.last = p.older
	} else {
		p.newer.older = p.older
	}
	p.older, p.newer = nil, nil
	c.open--
	switch o {
	case Success:
		c.succeeded = max(c.succeeded, p.seq)
	case Failure:
		c.fail(p)
	}
}

// fail counts a failure: of an attempt that ends with it, or later, if the attempt's
// stream breaks after its commit.
func (c *consecutive) fail(p *Permit) {
	c.failed[c.at%len(c.failed)] = p.seq
	c.at++
	younger, earlier := 0, c.last
	for earlier != nil && earlier.seq > p.seq {
		younger, earlier = younger+1, earlier.older
	}
	c.outstanding = c.open - younger
	better := c.succeeded // the latest attempt that shows that p's failure is not part of a row
	if earlier != nil {
		better = max(better, earlier.seq)
	}
	c.length = 0
	for _, seq := range c.failed {
		if seq > better {
			c.length++
		}
	}
}
