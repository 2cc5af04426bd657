package coalesce

import "sync"

// A Reach says who may have an answer, or what it goes on with.
type Reach int

const (
	Everyone       Reach = iota // who asks for the same
	SameCredential              // callers of the leader's credential
	LeaderOnly
)

// A Completion is what is known of how far an answer has come. Whoever hands the
// answer over tells it, from any goroutine; the flight looks. The zero value is
// ready.
type Completion struct {
	mu       sync.Mutex // guards what follows
	reach    Reach
	written  int64
	payloads int    // events with payload that went through
	complete bool   // nothing is missing of the answer
	keepable bool   // and it may stand for other answers
	endpoint string // which gave its end
	usage    bool   // it says how many tokens it took
	failure  []byte // the host's event that the answer broke off in; nil: none
}

// Narrow notes that the answer goes no further than to.
func (c *Completion) Narrow(to Reach) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reach = max(c.reach, to)
}

// Private notes that what follows was said to the leader's credential alone.
func (c *Completion) Private() { c.Narrow(SameCredential) }

// Pass notes n more bytes of the answer, and whether they carry payload. What
// follows Complete is no part of the answer.
func (c *Completion) Pass(n int, payload bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written += int64(n)
	if payload {
		c.payloads++
	}
}

// Break notes the host's event that says why the answer broke off.
func (c *Completion) Break(event []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failure = event
}

// Complete notes that nothing is missing of the answer, and which endpoint gave
// its end. keepable says that it may stand for other answers, usage that it says
// how many tokens it took.
func (c *Completion) Complete(endpoint string, keepable, usage bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complete, c.endpoint, c.usage = true, endpoint, usage
	c.keepable = keepable && c.reach == Everyone
}

// Endpoint returns which endpoint gave the answer's end.
func (c *Completion) Endpoint() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.endpoint
}

// Usage reports whether the answer says how many tokens it took.
func (c *Completion) Usage() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.usage
}

func (c *Completion) isKeepable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.keepable
}

// A mark is what a Completion says at one moment.
type mark struct {
	reach    Reach
	size     int64 // of the whole answer; 0: not known yet
	payloads int
}

func (c *Completion) mark() mark {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := mark{reach: c.reach, payloads: c.payloads}
	if c.complete {
		m.size = c.written
	}
	return m
}

func (c *Completion) failureEvent() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.failure
}
