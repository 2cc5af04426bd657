package breakwatertest

import (
	"fmt"
	"time"
)

// Fault is one way for a host to fail. The zero Fault is no fault.
type Fault struct {
	name   string
	kind   kind
	detail string // what String adds in parentheses

	after  int
	wait   time.Duration
	status func(Dialect) reply
}

// kind says where in the handling of a request a fault acts.
type kind int

const (
	kindNone kind = iota
	kindRefused
	kindReset
	kindBlackHole
	kindStatus
	kindSlowHeaders

	// Faults from here on are inside a 200, so only a chat request that would
	// have been answered shows them.
	kindQueueForever
	kindSilence
	kindErrorInside
	kindHTMLInside
	kindEmptyInside
	kindCutJSON
	kindMalformedJSON
	kindOutOfResources
	kindCutStream
	kindEndStream
	kindStallStream
	kindStallKeepAlive
	kindErrorFrame
	kindNoDone
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
	case kindOutOfResources, kindNoDone:
		return true
	case kindCutStream, kindEndStream, kindStallStream, kindStallKeepAlive, kindErrorFrame:
		return f.after > 0
	}
	return false
}

// Harmless reports whether the answer is right all the same.
func (f Fault) Harmless() bool {
	switch f.kind {
	case kindNone, kindSlowHeaders, kindNoDone:
		return true
	}
	return false
}

// insideAnswer reports whether the fault needs a request that is being answered.
func (f Fault) insideAnswer() bool { return f.kind >= kindSlowHeaders }

// Faults returns one of each fault, with ordinary parameters.
func Faults() []Fault {
	return []Fault{
		Refused(), Reset(), BlackHole(), SlowHeaders(time.Minute),
		QueueForever(), Silence(),
		Status(502, "text/plain; charset=utf-8", "Bad Gateway\n"),
		TooManyRequests("1"), ServerError(), Busy(), HTMLError(504), EmptyError(502),
		Unauthorized(), InsufficientBalance(),
		ErrorInside(), ErrorStringInside(), FlatErrorInside(), HTMLInside(), EmptyInside(),
		CutJSON(), MalformedJSON(), OutOfResources(),
		CutStream(3), EndStream(3), StallStream(3), StallKeepAlive(3), ErrorFrame(3),
		NoDone(),
	}
}
