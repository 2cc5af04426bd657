package circuit

// MaxConsecutive is how many failures in a row can be told from more.
const MaxConsecutive = 32

// consecutive counts failures in a row, in the order in which the attempts began.
// They end in another order: a host that is overloaded refuses at once and
// answers late, so that its refusals would seem to come in a row, and alone. An
// attempt that began earlier and has not failed yet has done better than one that
// has, and ends the row as a success does.
//
// The circuit's mu guards it.
type consecutive struct {
	seq         uint64                 // of the latest attempt
	first, last *Permit                // attempts without an outcome, oldest first
	open        int                    // how many these are
	succeeded   uint64                 // the latest attempt that succeeded
	failed      [MaxConsecutive]uint64 // the latest attempts that failed, in a ring
	at          int                    // the ring's next place
	length      int                    // failures in a row, as of the latest failure
	outstanding int                    // attempts older than that which have not failed
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

// fail counts a failure: of an attempt that ends with it, or, later, of one that
// had shown payload before.
func (c *consecutive) fail(p *Permit) {
	c.failed[c.at%len(c.failed)] = p.seq
	c.at++
	younger, earlier := 0, c.last
	for earlier != nil && earlier.seq > p.seq {
		younger, earlier = younger+1, earlier.older
	}
	c.outstanding = c.open - younger
	better := c.succeeded // the latest attempt that has done better than p
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
