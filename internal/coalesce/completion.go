package coalesce

import "sync"

// A Reach says which callers may have an answer, or the rest of it.
type Reach int

const (
	Everyone       Reach = iota // every caller with the same key
	SameCredential              // callers with the leader's credential
	LeaderOnly
)

// A Completion tells a flight how much of its answer has come, and who may have it.
// Whoever hands the answer over reports to it, from any goroutine. The zero value is
// ready.
type Completion struct {
	mu       sync.Mutex // guards what follows
	reach    Reach
	written  int64
	payloads int    // events with payload so far
	complete bool   // nothing is missing of the answer
	finished bool   // and it is all that the host has to say, for everyone
	keepable bool   // and other calls may be answered with it
	endpoint string // the endpoint that gave the answer's end
	usage    bool   // the answer contains its usage
	failure  []byte // the host's event that broke the answer; nil: none
}

// Narrow restricts the answer to the callers in to.
func (c *Completion) Narrow(to Reach) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reach = max(c.reach, to)
}

// Private notes that what follows is meant for the leader's credential alone.
func (c *Completion) Private() { c.Narrow(SameCredential) }

// Pass notes n more bytes of the answer, and whether they carry payload. What follows
// Complete is not a part of the answer.
func (c *Completion) Pass(n int, payload bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.written += int64(n)
	if payload {
		c.payloads++
	}
}

// Break notes the host's event that says why the answer broke.
func (c *Completion) Break(event []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failure = event
}

// Complete notes that nothing is missing of the answer, and which endpoint gave its end.
// finished says that it is all that the host has to say, keepable that other calls may be
// answered with it, and usage that it contains its usage.
func (c *Completion) Complete(endpoint string, finished, keepable, usage bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.complete, c.endpoint, c.usage = true, endpoint, usage
	c.finished, c.keepable = finished && c.reach == Everyone, keepable && c.reach == Everyone
}

// Endpoint returns the endpoint that gave the answer's end.
func (c *Completion) Endpoint() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.endpoint
}

// Usage reports whether the answer contains its usage.
func (c *Completion) Usage() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.usage
}

// worth reports whether the answer may be kept for its own call, and for others.
func (c *Completion) worth() (finished, keepable bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.finished, c.keepable
}

// A mark is the state of a Completion at one moment.
type mark struct {
	reach    Reach
	size     int64 // of the complete answer; 0: not known yet
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
