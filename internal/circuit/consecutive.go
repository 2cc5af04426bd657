package circuit

// consecutive counts failures in a row, in the order in which the attempts began.
//
// Attempts end in another order: an overloaded host refuses at once and answers late, so
// refusals would seem to come in a row although other attempts succeed. An attempt that
// began earlier and has not failed yet has lasted longer than one that has, and ends the
// row as a success does.
//
// It keeps no failure, only their number between one open attempt and the next, because a
// row may have any length.
//
// The circuit's mu guards it.
type consecutive struct {
	seq         uint64  // number of the latest attempt
	first, last *Permit // attempts without an outcome, oldest first
	open        int     // number of these
	succeeded   uint64  // the latest attempt that succeeded
	failed      uint32  // failures of attempts that began between that one and first: see failedAfter
	length      int     // failures in a row, as of the latest failure
	outstanding int     // attempts that began before it and have not failed
}

// begin adds an attempt that was let through.
func (c *consecutive) begin(p *Permit) {
	c.seq++
	p.seq, p.failed = c.seq, 0
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
	if o == Success {
		c.succeeded = max(c.succeeded, p.seq)
	}
	before := c.failedAfter(p.older)
	if p.seq <= c.succeeded { // all of these began before the success
		*before = 0
	}
	*before += p.failed
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
	if o == Failure {
		c.fail(p)
	}
}

// fail counts a failure: of an attempt that ends with it, or later, if the attempt's
// stream breaks after its commit.
func (c *consecutive) fail(p *Permit) {
	c.length = 0
	younger, earlier := 0, c.last
	for earlier != nil && earlier.seq > p.seq {
		c.length += int(*c.failedAfter(earlier))
		younger, earlier = younger+1, earlier.older
	}
	c.outstanding = c.open - younger
	before := c.failedAfter(earlier)
	if p.seq > c.succeeded {
		*before++
	}
	c.length += int(*before)
}

// failedAfter returns the number of failures of attempts that began between an open one,
// or the latest success if p is nil, and the open one that began next.
func (c *consecutive) failedAfter(p *Permit) *uint32 {
	failed, next := &c.failed, c.first
	if p != nil {
		failed, next = &p.failed, p.newer
	}
	if next != nil && next.seq <= c.succeeded { // a success began after all of these
		*failed = 0
	}
	return failed
}
