package breakwatertest

import (
	"strconv"
	"time"
)

// Refused stops listening and closes every connection. [Server.Heal] listens on
// the same port again. Refused clients cannot be counted, so for
// [Server.BreakNext] it is a [Reset].
func Refused() Fault { return Fault{name: "Refused", kind: kindRefused} }

// NoSuchHost makes the host's name unknown: [Fleet.Transport] returns a
// [net.DNSError]. For other transports, and for [Server.BreakNext], it is like
// [Refused].
func NoSuchHost() Fault { return Fault{name: "NoSuchHost", kind: kindNoSuchHost} }

// BadCertificate sends a certificate for another name, so that no handshake
// succeeds. A host without TLS reads the request and resets the connection, and so
// does every host for [Server.BreakNext].
func BadCertificate() Fault { return Fault{name: "BadCertificate", kind: kindBadCertificate} }

// Reset reads the request and then resets the connection. On HTTP/2 this ends all
// requests on the connection.
func Reset() Fault { return Fault{name: "Reset", kind: kindReset} }

// GoAway ends an HTTP/2 connection with a GOAWAY frame. The frame says that the
// request was not processed, so that it may be sent again.
//
// Setting the fault closes the open connections. [Server.Requests] has only the
// time of each request. The frame carries an internal error, because after one
// without an error net/http's transport would dial again at once, for ever. For
// [Server.BreakNext] it carries no error, and ends all requests on the connection.
// A host without HTTP/2 resets the connection.
func GoAway() Fault { return Fault{name: "GoAway", kind: kindGoAway} }

// RefusedStream refuses each request with an RST_STREAM frame of code
// REFUSED_STREAM and keeps the connection. Otherwise it is like [GoAway]. For
// [Server.BreakNext] it is a [GoAway], since a handler does not know its stream.
func RefusedStream() Fault { return Fault{name: "RefusedStream", kind: kindRefusedStream} }

// IdleClosed answers the first request on a connection. At the next one it closes
// the connection without an answer, like a server whose idle timeout has just
// ended. On HTTP/2 this ends all requests on the connection.
func IdleClosed() Fault { return Fault{name: "IdleClosed", kind: kindIdleClosed} }

// BlackHole reads the request and never sends a byte.
func BlackHole() Fault { return Fault{name: "BlackHole", kind: kindBlackHole} }

// NoContinue never sends "100 Continue". It answers when it has the body. It
// changes nothing for requests that do not expect "100 Continue", and on HTTP/2.
func NoContinue() Fault { return Fault{name: "NoContinue", kind: kindNoContinue} }

// SlowHeaders sends the response headers after d, and then a right answer.
func SlowHeaders(d time.Duration) Fault {
	return Fault{name: "SlowHeaders", kind: kindSlowHeaders, detail: d.String(), wait: d}
}

// HeaderBomb sends header fields of so many bytes in total, and then a right
// answer. By default, net/http's Transport accepts 10 MiB.
func HeaderBomb(bytes int) Fault { return sized("HeaderBomb", kindHeaderBomb, bytes) }

// QueueForever sends 200 at once and then keep-alives for ever. In a stream these
// are comments (and pings on Messages); for JSON they are blank lines.
func QueueForever() Fault { return Fault{name: "QueueForever", kind: kindQueueForever} }

// ManyKeepAlives sends n keep-alives at once, and then a right answer.
func ManyKeepAlives(n int) Fault { return sized("ManyKeepAlives", kindManyKeepAlives, n) }

// BlankThenClose sends 200 and sixty blank lines, one for each Pace.KeepAlive of
// the host, so in a minute by default. Then the body ends cleanly. DeepSeek did
// this when it was overloaded.
func BlankThenClose() Fault { return Fault{name: "BlankThenClose", kind: kindBlankThenClose} }

// Silence sends 200, for a stream also the events before the payload, such as the
// chunk with the role, and then nothing.
func Silence() Fault { return Fault{name: "Silence", kind: kindSilence} }

func sized(name string, k kind, size int) Fault {
	return Fault{name: name, kind: k, detail: strconv.Itoa(size), size: size}
}
