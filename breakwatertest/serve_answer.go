package breakwatertest

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// serveAnswer answers, or acts out a fault inside the answer.
func (x *exchange) serveAnswer() {
	if x.asks == nil {
		x.reply(x.refusal(badBody))
		return
	}
	if refusal, ok := x.accept(); !ok {
		x.reply(refusal)
		return
	}
	if refusal, ok := x.acquire(); !ok {
		x.reply(refusal)
		return
	}
	contentType := "application/json"
	if x.asks.stream {
		contentType = "text/event-stream; charset=utf-8"
	}
	switch x.fault.kind {
	case kindHTMLInside:
		page := "<!DOCTYPE html>\n<html><head><title>Under maintenance</title></head><body><h1>We will be back soon</h1></body></html>\n"
		x.reply(reply{code: 200, contentType: "text/html; charset=utf-8", body: page})
		return
	case kindEmptyInside:
		x.reply(reply{code: 200, contentType: contentType})
		return
	case kindSlowHeaders:
		x.wait(x.fault.wait)
	case kindHeaderBomb:
		value := strings.Repeat("x", headerPiece)
		for i := 0; i*headerPiece < x.fault.size; i++ {
			x.w.Header().Set(fmt.Sprintf("X-Bomb-%d", i), value[:min(headerPiece, x.fault.size-i*headerPiece)])
		}
	}
	x.w.Header().Set("Content-Type", contentType)
	x.openOutlet()
	if x.asks.stream {
		x.w.Header().Set("Cache-Control", "no-cache")
		x.serveStream(x.answer().script())
	} else {
		x.serveJSON(x.answer())
	}
	x.closeOutlet()
}

const (
	headerPiece  = 32 << 10 // one header field of a bomb
	paddingPiece = 16 << 10 // how much of something huge is made at a time
)

func (x *exchange) serveJSON(a *answer) {
	body := a.script().json
	switch x.fault.kind {
	case kindErrorInside:
		body = x.fault.reply(x).body
	case kindErrorFrame:
		body = x.asks.failedJSON()
	case kindCutJSON:
		body = body[:len(body)/2]
	case kindMalformedJSON, kindMalformedEvent:
		body = malformed(body)
	case kindHugeEvent:
		body = pad(body, x.fault.size)
	case kindCutStream:
		// The promise covers the blank lines sent before the body as well.
		x.w.Header().Set("Content-Length", strconv.Itoa(x.pace.keepAlives()+len(body)))
	}
	if !x.begin() {
		return
	}
	x.wait(time.Duration(x.pace.Tokens-a.given) * x.pace.PerToken)
	switch x.fault.kind {
	case kindCutStream:
		x.done()
		x.send(body[:len(body)/2])
		x.abort()
	case kindGoAwayMidway:
		x.done()
		x.breakOff(body[:len(body)/2])
	case kindStallStream:
		x.send(body[:len(body)/2])
		x.hang()
	case kindStallKeepAlive:
		x.keepAliveForever()
	case kindHuge, kindGzipBomb:
		x.send(`{"obfuscation":"`)
		x.padding(x.fault.size, func(n int) string { return strings.Repeat("x", n) })
		body = `",` + body[1:]
	}
	x.done()
	x.send(body)
}

// padding sends n bytes without ever holding them all.
func (x *exchange) padding(n int, make func(n int) string) {
	whole := make(paddingPiece)
	for ; n >= paddingPiece; n -= paddingPiece {
		x.send(whole)
	}
	if n > 0 {
		x.send(make(n))
	}
}

func (x *exchange) serveStream(s *script) {
	if !x.begin() {
		return
	}
	first := s.opening[0]
	switch x.fault.kind {
	case kindErrorInside:
		x.done()
		x.send(x.asks.errorEvent(x.fault.reply(x).body))
		return
	case kindCutJSON:
		x.done()
		x.send(first[:strings.Index(first, "{")+len(first)/4])
		return
	case kindMalformedJSON:
		x.done()
		x.send(malformed(first))
		return
	}
	for _, e := range s.opening {
		x.send(e)
	}
	if x.fault.kind == kindSilence {
		x.hang()
	}
	if x.fault.after <= 0 && x.endMidway() {
		return
	}
	said := 0
	for _, one := range s.steps {
		if one.says && said > 0 && said == x.fault.after && x.endMidway() {
			return
		}
		for _, e := range one.events {
			x.send(x.spoil(e, one.says && said == max(0, x.fault.after)))
		}
		if one.says {
			if said++; said == 1 && (x.fault.kind == kindHuge || x.fault.kind == kindGzipBomb) {
				x.padding(x.fault.size, func(n int) string { return pad(s.empty, n) })
			}
		}
		if one.token {
			x.wait(x.pace.PerToken)
		}
	}
	// All that is left of a fault between the deltas comes before the finish.
	if said <= x.fault.after && x.endMidway() {
		return
	}
	tail := s.tail
	if x.fault.kind != kindNoDone && s.end != "" {
		tail = append(tail, s.end)
	}
	for i, e := range tail {
		if i == len(tail)-1 {
			x.done()
		}
		x.send(e)
	}
}

// spoil changes one event where a fault asks for it.
func (x *exchange) spoil(event string, here bool) string {
	switch {
	case !here:
	case x.fault.kind == kindMalformedEvent:
		return malformed(event)
	case x.fault.kind == kindHugeEvent:
		return pad(event, x.fault.size)
	}
	return event
}

// endMidway acts out the faults between deltas, if there is one, and reports
// whether the answer ends here.
func (x *exchange) endMidway() bool {
	switch x.fault.kind {
	case kindCutStream:
		x.done()
		x.abort()
	case kindGoAwayMidway:
		x.done()
		x.breakOff("")
	case kindEndStream:
		x.done()
		return true
	case kindStallStream:
		x.hang()
	case kindStallKeepAlive:
		x.keepAliveForever()
	case kindErrorFrame:
		x.done()
		x.send(x.asks.failedEvent())
		return true
	}
	return false
}

// begin sends the headers and lets the queue and the silence behind it pass. It
// reports whether an answer follows.
func (x *exchange) begin() bool {
	x.flush()
	dialect := x.s.host.Dialect
	switch x.fault.kind {
	case kindQueueForever:
		x.keepAliveForever()
	case kindSilence:
		if !x.asks.stream {
			x.hang()
		}
	case kindBlankThenClose:
		for range 60 {
			x.wait(x.pace.KeepAlive)
			x.send("\n")
		}
		x.done()
		return false
	case kindManyKeepAlives:
		var all strings.Builder
		for i := range x.fault.size {
			all.WriteString(x.asks.keepAlive(dialect, i))
		}
		x.send(all.String())
	}
	n := x.pace.keepAlives()
	for i := range n {
		x.wait(x.pace.KeepAlive)
		x.send(x.asks.keepAlive(dialect, i))
	}
	x.wait(x.pace.Queue - time.Duration(n)*x.pace.KeepAlive)
	x.wait(x.pace.FirstToken)
	return true
}

// keepAliveForever ends only with the client's leaving.
func (x *exchange) keepAliveForever() {
	for i := 0; ; i++ {
		x.wait(x.pace.KeepAlive)
		x.send(x.asks.keepAlive(x.s.host.Dialect, i))
	}
}

// The shapes of errors inside a 200, which are the wire's rather than the
// host's.

// errorInside is the usual trouble as a whole body.
func (q *question) errorInside() string {
	f := DialectOpenAI.words(broken)
	if q.wire == Messages {
		return anthropic(f)
	}
	return nested(f)
}

// errorEvent is an error's body as an event of its own.
func (q *question) errorEvent(body string) string {
	switch q.wire {
	case Responses:
		// https://platform.openai.com/docs/api-reference/responses-streaming/error
		if f := DialectOpenAI.words(broken); body == nested(f) {
			return named("error", "code", f.code, "message", f.message, "param", nil, "sequence_number", 0)
		}
		return "event: error\n" + event(body)
	case Messages:
		return "event: error\n" + event(body)
	}
	return event(body)
}

// failedJSON is an answer of which its host says that it failed.
func (q *question) failedJSON() string {
	if q.wire == Responses {
		return q.failedResponse().json()
	}
	return q.errorInside()
}

// failedEvent is the error that ends a stream.
func (q *question) failedEvent() string {
	if q.wire == Responses {
		return named("response.failed", "sequence_number", 0, "response", q.failedResponse())
	}
	return q.errorEvent(q.errorInside())
}

func (q *question) failedResponse() fields {
	f := DialectOpenAI.words(broken)
	return fields{
		"id", "failed", "object", "response", "model", q.model, "status", "failed",
		"error", fields{"code", "server_error", "message", f.message}, "output", []fields{},
	}
}
