package breakwatertest

import "time"

// Refused stops listening and closes every connection; [Server.Heal] listens on
// the same port again. Nothing can count the clients it refused, so under
// [Server.BreakNext] it is a [Reset].
func Refused() Fault { return Fault{name: "Refused", kind: kindRefused} }

// Reset reads the request and then resets the connection.
func Reset() Fault { return Fault{name: "Reset", kind: kindReset} }

// BlackHole reads the request and never sends a byte.
func BlackHole() Fault { return Fault{name: "BlackHole", kind: kindBlackHole} }

// SlowHeaders sends the response headers after d, and then a right answer.
func SlowHeaders(d time.Duration) Fault {
	return Fault{name: "SlowHeaders", kind: kindSlowHeaders, detail: d.String(), wait: d}
}

// QueueForever sends 200 at once and then keep-alives for ever: comments in a
// stream, blank lines before JSON.
func QueueForever() Fault { return Fault{name: "QueueForever", kind: kindQueueForever} }

// Silence sends 200, for a stream also the chunk that only says the role, and
// then nothing for ever.
func Silence() Fault { return Fault{name: "Silence", kind: kindSilence} }
