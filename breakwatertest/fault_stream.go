package breakwatertest

import "strconv"

// CutStream breaks the connection. JSON breaks off after half of its
// Content-Length.
func CutStream(after int) Fault { return midway("CutStream", kindCutStream, after) }

// GoAwayMidway ends an HTTP/2 connection, with all requests on it, by a GOAWAY
// frame that carries an error. JSON is ended after half of the body. A host without
// HTTP/2 breaks the connection.
func GoAwayMidway(after int) Fault { return midway("GoAwayMidway", kindGoAwayMidway, after) }

// EndStream ends the body cleanly, without finish_reason and [DONE]. JSON gets a
// right answer.
func EndStream(after int) Fault { return midway("EndStream", kindEndStream, after) }

// StallStream sends nothing more and keeps the connection open. JSON stalls after
// half of the body.
func StallStream(after int) Fault { return midway("StallStream", kindStallStream, after) }

// StallKeepAlive sends only keep-alives, for ever. Instead of JSON it sends only
// blank lines.
func StallKeepAlive(after int) Fault { return midway("StallKeepAlive", kindStallKeepAlive, after) }

// ErrorFrame sends an event {"error":{…}} and ends the stream. On Messages it is an
// "event: error", on Responses a "response.failed". For JSON it is like
// [ErrorInside], on Responses an answer with the status "failed".
func ErrorFrame(after int) Fault { return midway("ErrorFrame", kindErrorFrame, after) }

// MalformedEvent sends an event that is not JSON instead of the next delta, and
// continues. For JSON it is like [MalformedJSON].
func MalformedEvent(after int) Fault { return midway("MalformedEvent", kindMalformedEvent, after) }

// NoDone sends a right answer without the final [DONE]. Responses and Messages have
// no [DONE], so there it changes nothing.
func NoDone() Fault { return Fault{name: "NoDone", kind: kindNoDone} }

func midway(name string, k kind, after int) Fault {
	return Fault{name: name, kind: k, detail: strconv.Itoa(after), after: after}
}
