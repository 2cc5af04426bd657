package breakwatertest

// The faults of this file come inside a 200: the status says success, and only
// the body tells.

// ErrorInside is a 200 with an {"error":{…}} body; a stream has it as its first
// and only event.
func ErrorInside() Fault {
	return inside("ErrorInside", func() string { return serverError.body(DialectDeepSeek) })
}

// ErrorStringInside is a 200 with an {"error":"text"} body.
func ErrorStringInside() Fault {
	return inside("ErrorStringInside", func() string {
		return mustJSON(map[string]string{"error": serverError.message})
	})
}

// FlatErrorInside is a 200 with a {"code":500,"message":…} body.
func FlatErrorInside() Fault {
	return inside("FlatErrorInside", func() string { return serverError.body(DialectSiliconFlow) })
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

// OutOfResources is half of the answer with finish_reason
// insufficient_system_resource.
func OutOfResources() Fault { return Fault{name: "OutOfResources", kind: kindOutOfResources} }

func inside(name string, body func() string) Fault {
	return Fault{name: name, kind: kindErrorInside, status: func(Dialect) reply {
		return reply{code: 200, body: body()}
	}}
}
