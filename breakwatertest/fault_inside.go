package breakwatertest

// The faults of this file come inside a 200: the status says success, and only
// the body tells.

// ErrorInside is a 200 with an {"error":{…}} body, of Anthropic's shape on
// Messages; a stream has it as its first and only event, which on Responses and
// Messages is an "event: error".
func ErrorInside() Fault {
	return inside("ErrorInside", (*question).errorInside)
}

// ErrorStringInside is a 200 with an {"error":"text"} body.
func ErrorStringInside() Fault {
	return inside("ErrorStringInside", func(*question) string { return errorString(DialectOpenAI.words(broken)) })
}

// FlatErrorInside is a 200 with a {"code":500,"message":…} body.
func FlatErrorInside() Fault {
	return inside("FlatErrorInside", func(*question) string { return flat(DialectOpenAI.words(broken)) })
}

// HTMLInside is a 200 with a web page, as captive portals and maintenance pages
// give, whatever was asked for.
func HTMLInside() Fault { return Fault{name: "HTMLInside", kind: kindHTMLInside} }

// EmptyInside is a 200 without a body, of the type that was asked for.
func EmptyInside() Fault { return Fault{name: "EmptyInside", kind: kindEmptyInside} }

// CutJSON is half of the JSON and a clean end; a stream ends cleanly in the
// middle of its first event.
func CutJSON() Fault { return Fault{name: "CutJSON", kind: kindCutJSON} }

// MalformedJSON is JSON that does not parse; in a stream, the first event.
func MalformedJSON() Fault { return Fault{name: "MalformedJSON", kind: kindMalformedJSON} }

// OutOfResources is half of the answer with finish_reason (on Messages
// stop_reason) insufficient_system_resource; on Responses it is "incomplete" for
// that reason.
func OutOfResources() Fault { return Fault{name: "OutOfResources", kind: kindOutOfResources} }

func inside(name string, body func(*question) string) Fault {
	return Fault{name: name, kind: kindErrorInside, reply: func(x *exchange) reply {
		return reply{code: 200, body: body(x.asks)}
	}}
}
