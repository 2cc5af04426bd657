package breakwatertest

import (
	"fmt"
	"time"
)

// The faults of this file give a right answer, in an odd way or a great size.

// CRLF ends lines with CR LF.
func CRLF() Fault { return Fault{name: "CRLF", kind: kindCRLF} }

// NoSpace leaves out the space behind "data:", "event:" and ":".
func NoSpace() Fault { return Fault{name: "NoSpace", kind: kindNoSpace} }

// ByteByByte sends each byte on its own, without waiting between them.
func ByteByByte() Fault { return Fault{name: "ByteByByte", kind: kindByteByByte} }

// SlowBody sends a byte each d. Where the clock is coarser than d, bytes that are
// overdue go out together.
func SlowBody(d time.Duration) Fault {
	return Fault{name: "SlowBody", kind: kindSlowBody, detail: d.String(), wait: d}
}

// Glued sends four events, or keep-alives, in one write, whatever the [Pace]: the
// first of them waits for the fourth.
func Glued() Fault { return Fault{name: "Glued", kind: kindGlued} }

// SplitAnywhere cuts the body at any byte, the same ones for the same seed. A
// write may hold the end of one event and the beginning of the next.
func SplitAnywhere(seed int) Fault { return sized("SplitAnywhere", kindSplitAnywhere, seed) }

// Gzip compresses the answer if the client accepts that.
func Gzip() Fault { return Fault{name: "Gzip", kind: kindGzip} }

// GzipBomb is [Huge], compressed if the client accepts that.
func GzipBomb(bytes int) Fault { return sized("GzipBomb", kindGzipBomb, bytes) }

// Huge is a right answer with so many bytes more that say nothing: in a field
// "obfuscation" before the rest of the JSON; in a stream in such fields of empty
// deltas behind the first delta.
func Huge(bytes int) Fault { return sized("Huge", kindHuge, bytes) }

// HugeEvent makes the event behind so many deltas larger by a field of size bytes.
// JSON: like [Huge].
func HugeEvent(after, size int) Fault {
	f := sized("HugeEvent", kindHugeEvent, size)
	f.after, f.detail = after, fmt.Sprintf("%d, %d", after, size)
	return f
}
