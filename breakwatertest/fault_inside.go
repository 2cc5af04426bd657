package breakwatertest

import "github.com/breakwater-go/breakwater/internal/dialect"

// The faults of this file come inside a 200: the status says success, and only
// the body shows the failure.

// ErrorInside sends a 200 whose body is {"error":{…}}, on Messages in Anthropic's
// shape. A stream has it as its only event, which on Responses and Messages is an
// "event: error".
func ErrorInside() Fault {
	return inside("ErrorInside", (*question).errorInside)
}

// ErrorStringInside sends a 200 whose body is {"error":"text"}.
func ErrorStringInside() Fault {
	return inside("ErrorStringInside", func(*question) string { return dialect.ErrorString(DialectOpenAI.words(dialect.Broken)) })
}

// FlatErrorInside sends a 200 whose body is {"code":500,"message":…}.
func FlatErrorInside() Fault {
	return inside("FlatErrorInside", func(*question) string { return dialect.Flat(DialectOpenAI.words(dialect.Broken)) })
}

// HTMLInside sends a 200 with a web page, as captive portals do.
func HTMLInside() Fault { return Fault{name: "HTMLInside", kind: kindHTMLInside} }

// EmptyInside sends a 200 without a body, with the Content-Type of the answer.
func EmptyInside() Fault { return Fault{name: "EmptyInside", kind: kindEmptyInside} }

// CutJSON sends half of the JSON and ends the body cleanly. A stream ends cleanly
// in the middle of its first event.
func CutJSON() Fault { return Fault{name: "CutJSON", kind: kindCutJSON} }

// MalformedJSON sends JSON that does not parse. In a stream, the first event is
// malformed.
func MalformedJSON() Fault { return Fault{name: "MalformedJSON", kind: kindMalformedJSON} }

// OutOfResources sends half of the answer with the finish_reason (on Messages the
// stop_reason) insufficient_system_resource. On Responses the answer is
// "incomplete" for that reason.
func OutOfResources() Fault { return Fault{name: "OutOfResources", kind: kindOutOfResources} }

func inside(name string, body func(*question) string) Fault {
	return Fault{name: name, kind: kindErrorInside, reply: func(x *exchange) reply {
		return reply{code: 200, body: body(x.asks)}
	}}
}
