package breakwatertest

import (
	"fmt"
	"time"
)

// Fault is one way for a host to fail, or to be odd. The zero Fault is no fault.
type Fault struct {
	name   string
	kind   kind
	detail string // what String adds in parentheses

	after int
	size  int // in bytes, or a number of things
	wait  time.Duration
	reply func(*exchange) reply
}

// kind says where in the handling of a request a fault acts.
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

	// Faults from here on are inside a 200, so only a request for an answer that
	// would have been given shows them.
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

// Name is the fault's constructor, such as "CutStream"; "" for no fault.
func (f Fault) Name() string { return f.name }

// String is the name with its parameters, such as "CutStream(3)".
func (f Fault) String() string {
	switch {
	case f.name == "":
		return "none"
	case f.detail == "":
		return f.name
	}
	return fmt.Sprintf("%s(%s)", f.name, f.detail)
}

// BehindCommit reports whether a streamed answer shows the fault only after its
// first payload, when a client may have passed on something it cannot take back.
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

// reasonable is a size, in bytes, that a client should be able to take.
const reasonable = 4 << 20

// Harmless reports whether the answer is right all the same, for a client that
// has the time and takes sizes up to 4 MiB, and to a request without a prefix.
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

// insideAnswer reports whether the fault needs a request that is being answered.
func (f Fault) insideAnswer() bool { return f.kind >= kindSlowHeaders }

// Faults returns one of each fault, with ordinary parameters: small enough for a
// test over real connections, but for [SlowHeaders]. [PrefixRejected] and
// [PrefixIgnored] are not among them, since only requests with a prefix show them.
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
