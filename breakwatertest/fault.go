package breakwatertest

import (
	"fmt"
	"time"
)

// A Fault is one way in which a host fails or behaves unusually. The zero Fault is
// no fault.
//
// A fault with a parameter after acts after that many content deltas of a stream,
// or argument deltas if a tool is called. 0 means directly after the chunk with the
// role, before any reasoning. More deltas than there are means before the finish
// chunk.
type Fault struct {
	name   string
	kind   kind
	detail string // String adds it in parentheses

	after int
	size  int // bytes, or how many of what the fault sends
	wait  time.Duration
	reply func(*exchange) reply
}

// A kind tells at which point in the handling of a request a fault acts.
type kind int

const (
	kindNone kind = iota
	kindRefused
	kindNoSuchHost
	kindBadCertificate
	kindReset
	kindGoAway
	kindRefusedStream
	kindIdleClosed
	kindBlackHole
	kindStatus

	// The faults below come inside a 200, so only requests that would get an answer
	// meet them.
	kindSlowHeaders
	kindHeaderBomb
	kindNoContinue
	kindQueueForever
	kindSilence
	kindBlankThenClose
	kindManyKeepAlives
	kindErrorInside
	kindHTMLInside
	kindEmptyInside
	kindCutJSON
	kindMalformedJSON
	kindOutOfResources
	kindCutStream
	kindGoAwayMidway
	kindEndStream
	kindStallStream
	kindStallKeepAlive
	kindErrorFrame
	kindMalformedEvent
	kindHugeEvent
	kindHuge
	kindNoDone
	kindCRLF
	kindNoSpace
	kindByteByByte
	kindSlowBody
	kindGlued
	kindSplitAnywhere
	kindGzip
	kindGzipBomb
	kindPrefixRejected
	kindPrefixIgnored
)

// Name returns the name of the fault's constructor, such as "CutStream", or "" for
// no fault.
func (f Fault) Name() string { return f.name }

// String returns the name with its parameters, such as "CutStream(3)".
func (f Fault) String() string {
	switch {
	case f.name == "":
		return "none"
	case f.detail == "":
		return f.name
	}
	return fmt.Sprintf("%s(%s)", f.name, f.detail)
}

// BehindCommit reports whether a stream shows the fault only after its first
// payload. A client may have passed that on, and cannot take it back.
func (f Fault) BehindCommit() bool {
	switch f.kind {
	case kindOutOfResources, kindNoDone, kindHuge, kindGzipBomb:
		return true
	case kindCutStream, kindGoAwayMidway, kindEndStream, kindStallStream, kindStallKeepAlive, kindErrorFrame,
		kindMalformedEvent, kindHugeEvent:
		return f.after > 0
	}
	return false
}

// reasonable is a size in bytes that every client should accept.
const reasonable = 4 << 20

// Harmless reports whether the answer is right nevertheless: for a request without
// a prefix, and a client that waits long enough and accepts up to 4 MiB.
func (f Fault) Harmless() bool {
	switch f.kind {
	case kindHuge, kindHugeEvent, kindGzipBomb:
		return f.size <= reasonable
	case kindNone, kindSlowHeaders, kindNoDone, kindNoContinue, kindManyKeepAlives, kindCRLF, kindNoSpace,
		kindByteByByte, kindSlowBody, kindGlued, kindSplitAnywhere, kindGzip,
		kindPrefixRejected, kindPrefixIgnored:
		return true
	}
	return false
}

// insideAnswer reports whether only requests that would get an answer meet f.
func (f Fault) insideAnswer() bool { return f.kind >= kindSlowHeaders }

// Faults returns one of each fault, except [PrefixRejected] and [PrefixIgnored],
// which need a request with a prefix. Their parameters are small enough for tests
// over real connections, except that [SlowHeaders] takes a minute.
func Faults() []Fault {
	return []Fault{
		Refused(), NoSuchHost(), BadCertificate(), Reset(), GoAway(), RefusedStream(), IdleClosed(), BlackHole(),
		NoContinue(), SlowHeaders(time.Minute), HeaderBomb(11 << 20),
		QueueForever(), ManyKeepAlives(200), BlankThenClose(), Silence(),

		Status(502, "text/plain; charset=utf-8", "Bad Gateway\n"),
		TooManyRequests("1"), TooManyRequestsMS("1000"), ConcurrencyLimit(39), QuotaThrottle(),
		ServerError(), Busy(), HTMLError(504), EmptyError(502), Redirect("http://elsewhere.invalid/"),
		Unauthorized(), PlainUnauthorized(), InsufficientBalance(), Overdue(),
		ModelNotFound(), RetiredModel(), ContextLength(), ContentFilter(), MissingReasoning(),

		ErrorInside(), ErrorStringInside(), FlatErrorInside(), HTMLInside(), EmptyInside(),
		CutJSON(), MalformedJSON(), OutOfResources(),

		CutStream(3), GoAwayMidway(3), EndStream(3), StallStream(3), StallKeepAlive(3), ErrorFrame(3),
		MalformedEvent(3), NoDone(),

		CRLF(), NoSpace(), ByteByByte(), SlowBody(50 * time.Microsecond), Glued(), SplitAnywhere(1),
		Gzip(), GzipBomb(1 << 20), Huge(1 << 20), HugeEvent(3, 256<<10),
	}
}
