package breakwatertest

import (
	"strconv"
	"time"
)

// Refused stops listening and closes every connection; [Server.Heal] listens on
// the same port again. Nothing can count the clients it refused, so under
// [Server.BreakNext] it is a [Reset].
func Refused() Fault { return Fault{name: "Refused", kind: kindRefused} }

// NoSuchHost is a name that cannot be found: [Fleet.Transport] fails with a
// [net.DNSError]. To other transports, and under [Server.BreakNext], it is like
// [Refused].
func NoSuchHost() Fault { return Fault{name: "NoSuchHost", kind: kindNoSuchHost} }

// BadCertificate shows a certificate for another name, so that no handshake
// succeeds. Hosts without TLS reset the connection once they have read the
// request, and so do all under [Server.BreakNext].
func BadCertificate() Fault { return Fault{name: "BadCertificate", kind: kindBadCertificate} }

// Reset reads the request and then resets the connection, on HTTP/2 with all that
// is under way on it.
func Reset() Fault { return Fault{name: "Reset", kind: kindReset} }

// GoAway ends an HTTP/2 connection with a GOAWAY that says the request was not
// processed, and so may be sent again. Setting it closes the connections there
// are, and [Server.Requests] then shows of each request no more than that it came.
// The GOAWAY tells of an internal error: after one without an error net/http's
// transport would dial again at once and for ever. Under [Server.BreakNext] there
// is no error, and all requests on the connection are ended alike. Hosts that do
// not speak HTTP/2 reset the connection.
func GoAway() Fault { return Fault{name: "GoAway", kind: kindGoAway} }

// RefusedStream is like [GoAway], but refuses each request with RST_STREAM,
// REFUSED_STREAM, and keeps the connection. Under [Server.BreakNext] it is a
// [GoAway], since a handler does not know its stream.
func RefusedStream() Fault { return Fault{name: "RefusedStream", kind: kindRefusedStream} }

// IdleClosed answers the first request on a connection. A further one makes it
// close the connection without an answer, as servers do whose idle timeout ends
// just then; on HTTP/2 with all that is under way on it.
func IdleClosed() Fault { return Fault{name: "IdleClosed", kind: kindIdleClosed} }

// BlackHole reads the request and never sends a byte.
func BlackHole() Fault { return Fault{name: "BlackHole", kind: kindBlackHole} }

// NoContinue never sends "100 Continue", and answers once it has the body all the
// same. It changes nothing for requests that do not expect one, and on HTTP/2.
func NoContinue() Fault { return Fault{name: "NoContinue", kind: kindNoContinue} }

// SlowHeaders sends the response headers after d, and then a right answer.
func SlowHeaders(d time.Duration) Fault {
	return Fault{name: "SlowHeaders", kind: kindSlowHeaders, detail: d.String(), wait: d}
}

// HeaderBomb is a right answer behind header fields of so many bytes in all.
// net/http's Transport takes 10 MiB unless told otherwise.
func HeaderBomb(bytes int) Fault { return sized("HeaderBomb", kindHeaderBomb, bytes) }

// QueueForever sends 200 at once and then keep-alives for ever: comments in a
// stream (on Messages also pings), blank lines before JSON.
func QueueForever() Fault { return Fault{name: "QueueForever", kind: kindQueueForever} }

// ManyKeepAlives sends n keep-alives at once before the answer, which is right.
func ManyKeepAlives(n int) Fault { return sized("ManyKeepAlives", kindManyKeepAlives, n) }

// BlankThenClose sends 200 and sixty blank lines, one for each keep-alive of the
// host's [Pace], which is a minute unless it says otherwise; then the body ends
// cleanly. So DeepSeek was when overloaded.
func BlankThenClose() Fault { return Fault{name: "BlankThenClose", kind: kindBlankThenClose} }

// Silence sends 200, for a stream also the events before any payload, such as the
// chunk that only says the role, and then nothing for ever.
func Silence() Fault { return Fault{name: "Silence", kind: kindSilence} }

func sized(name string, k kind, size int) Fault {
	return Fault{name: name, kind: k, detail: strconv.Itoa(size), size: size}
}
