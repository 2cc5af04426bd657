package breakwatertest

import (
	"fmt"
	"time"
)

// The faults of this file send a right answer, in an unusual form or size.

// CRLF ends lines with CR LF.
func CRLF() Fault { return Fault{name: "CRLF", kind: kindCRLF} }

// NoSpace omits the space after "data:", "event:" and ":".
func NoSpace() Fault { return Fault{name: "NoSpace", kind: kindNoSpace} }

// ByteByByte sends each byte separately, without a wait between them.
func ByteByByte() Fault { return Fault{name: "ByteByByte", kind: kindByteByByte} }

// SlowBody sends one byte per d. If the clock is coarser than d, overdue bytes are
// sent together.
func SlowBody(d time.Duration) Fault {
	return Fault{name: "SlowBody", kind: kindSlowBody, detail: d.String(), wait: d}
}

// Glued sends four events or keep-alives in one write. The first of them waits for
// the fourth, whatever the [Pace].
func Glued() Fault { return Fault{name: "Glued", kind: kindGlued} }

// SplitAnywhere splits the body into writes at random bytes, the same for the same
// seed. A write may contain the end of one event and the beginning of the next.
func SplitAnywhere(seed int) Fault { return sized("SplitAnywhere", kindSplitAnywhere, seed) }

// Gzip compresses the answer if the client accepts gzip.
func Gzip() Fault { return Fault{name: "Gzip", kind: kindGzip} }

// GzipBomb is like [Huge], compressed if the client accepts gzip.
func GzipBomb(bytes int) Fault { return sized("GzipBomb", kindGzipBomb, bytes) }

// Huge sends a right answer with so many additional bytes without meaning. In JSON
// they are in a field "obfuscation" at the beginning. In a stream they are in such
// fields of empty deltas after the first delta.
func Huge(bytes int) Fault { return sized("Huge", kindHuge, bytes) }

// HugeEvent adds a field of size bytes to the event after so many deltas. For JSON
// it is like [Huge].
func HugeEvent(after, size int) Fault {
	f := sized("HugeEvent", kindHugeEvent, size)
	f.after, f.detail = after, fmt.Sprintf("%d, %d", after, size)
	return f
}
