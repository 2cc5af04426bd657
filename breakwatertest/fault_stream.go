package breakwatertest

import "strconv"

// The faults of this file break a stream after a number of content deltas (of
// argument deltas, when a tool is called). After 0 means right behind the chunk
// that says the role, before any reasoning too. After more than there are means
// before the finish chunk.

// CutStream breaks the connection. JSON: half of the promised Content-Length.
func CutStream(after int) Fault { return midway("CutStream", kindCutStream, after) }

// GoAwayMidway ends an HTTP/2 connection, and all that is under way on it, with a
// GOAWAY that tells of an error. JSON: half of the body first. Hosts that do not
// speak HTTP/2 break the connection.
func GoAwayMidway(after int) Fault { return midway("GoAwayMidway", kindGoAwayMidway, after) }

// EndStream ends the body cleanly, without finish_reason and [DONE]. JSON: a
// right answer.
func EndStream(after int) Fault { return midway("EndStream", kindEndStream, after) }

// StallStream sends nothing more and keeps the connection open. JSON: half of
// the body first.
func StallStream(after int) Fault { return midway("StallStream", kindStallStream, after) }

// StallKeepAlive sends nothing but keep-alives for ever. JSON: blank lines for
// ever and no body.
func StallKeepAlive(after int) Fault { return midway("StallKeepAlive", kindStallKeepAlive, after) }

// ErrorFrame sends an event {"error":{…}} and ends; on Messages it is an "event:
// error", on Responses a "response.failed". JSON: like [ErrorInside], on Responses
// an answer with the status "failed".
func ErrorFrame(after int) Fault { return midway("ErrorFrame", kindErrorFrame, after) }

// MalformedEvent sends an event that is no JSON in place of the next delta, and
// goes on. JSON: like [MalformedJSON].
func MalformedEvent(after int) Fault { return midway("MalformedEvent", kindMalformedEvent, after) }

// NoDone is a right answer without the closing [DONE]. Responses and Messages
// have none, so there it changes nothing.
func NoDone() Fault { return Fault{name: "NoDone", kind: kindNoDone} }

func midway(name string, k kind, after int) Fault {
	return Fault{name: name, kind: k, detail: strconv.Itoa(after), after: after}
}
