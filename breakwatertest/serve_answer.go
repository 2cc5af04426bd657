package breakwatertest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater/internal/dialect"
)

// serveAnswer answers, or acts out a fault inside the answer.
func (e *exchange) serveAnswer() {
	if e.asks == nil {
		e.reply(e.refusal(dialect.BadBody))
		return
	}
	if refusal, ok := e.accept(); !ok {
		e.reply(refusal)
		return
	}
	if refusal, ok := e.acquire(); !ok {
		e.reply(refusal)
		return
	}
	contentType := "application/json"
	if e.asks.stream {
		contentType = "text/event-stream; charset=utf-8"
	}
	switch e.fault.kind {
	case kindHTMLInside:
		page := "<!DOCTYPE html>\n<html><head><title>Under maintenance</title></head><body><h1>We will be back soon</h1></body></html>\n"
		e.reply(reply{code: 200, contentType: "text/html; charset=utf-8", body: page})
		return
	case kindEmptyInside:
		e.reply(reply{code: 200, contentType: contentType})
		return
	case kindSlowHeaders:
		e.wait(e.fault.wait)
	case kindHeaderBomb:
		value := strings.Repeat("x", headerPiece)
		for i := 0; i*headerPiece < e.fault.size; i++ {
			e.w.Header().Set(fmt.Sprintf("X-Bomb-%d", i), value[:min(headerPiece, e.fault.size-i*headerPiece)])
		}
	}
	e.w.Header().Set("Content-Type", contentType)
	e.openOutlet()
	if e.asks.stream {
		e.w.Header().Set("Cache-Control", "no-cache")
		e.serveStream(e.answer().script())
	} else {
		e.serveJSON(e.answer())
	}
	e.closeOutlet()
}

const (
	headerPiece  = 32 << 10 // the size of a header field of HeaderBomb
	paddingPiece = 16 << 10 // how many bytes of padding are made at a time
)

func (e *exchange) serveJSON(a *answer) {
	body := a.script().json
	switch e.fault.kind {
	case kindErrorInside:
		body = e.fault.reply(e).body
	case kindErrorFrame:
		body = e.asks.failedJSON()
	case kindCutJSON:
		body = body[:len(body)/2]
	case kindMalformedJSON, kindMalformedEvent:
		body = malformed(body)
	case kindHugeEvent:
		body = pad(body, e.fault.size)
	case kindCutStream:
		// Content-Length includes the blank lines that are sent before the body.
		e.w.Header().Set("Content-Length", strconv.Itoa(e.pace.keepAlives()+len(body)))
	}
	if !e.begin() {
		return
	}
	e.wait(time.Duration(e.pace.Tokens-a.given) * e.pace.PerToken)
	switch e.fault.kind {
	case kindCutStream:
		e.done()
		e.send(body[:len(body)/2])
		e.abort()
	case kindGoAwayMidway:
		e.done()
		e.breakOff(body[:len(body)/2])
	case kindStallStream:
		e.send(body[:len(body)/2])
		e.hang()
	case kindStallKeepAlive:
		e.keepAliveForever()
	case kindHuge, kindGzipBomb:
		e.send(`{"obfuscation":"`)
		e.padding(e.fault.size, func(n int) string { return strings.Repeat("x", n) })
		body = `",` + body[1:]
	}
	e.done()
	e.send(body)
}

// padding sends n bytes and never holds them all in memory.
func (e *exchange) padding(n int, make func(n int) string) {
	whole := make(paddingPiece)
	for ; n >= paddingPiece; n -= paddingPiece {
		e.send(whole)
	}
	if n > 0 {
		e.send(make(n))
	}
}

func (e *exchange) serveStream(s *script) {
	if !e.begin() || e.cutFirst(s.opening[0]) {
		return
	}
	for _, event := range s.opening {
		e.send(event)
	}
	if e.fault.kind == kindSilence {
		e.hang()
	}
	if e.fault.after <= 0 && e.endMidway() {
		return
	}
	deltas, ended := e.serveSteps(s)
	// If a fault should come after more deltas than there are, it comes before the
	// finish chunk.
	if ended || deltas <= e.fault.after && e.endMidway() {
		return
	}
	tail := s.tail
	if e.fault.kind != kindNoDone && s.end != "" {
		tail = append(tail, s.end)
	}
	for i, event := range tail {
		if i == len(tail)-1 {
			e.done()
		}
		e.send(event)
	}
}

// cutFirst acts out the faults with which a stream has only a broken first event. It
// returns false if the request has no such fault.
func (e *exchange) cutFirst(first string) bool {
	switch e.fault.kind {
	case kindErrorInside:
		first = e.asks.errorEvent(e.fault.reply(e).body)
	case kindCutJSON:
		first = first[:strings.Index(first, "{")+len(first)/4]
	case kindMalformedJSON:
		first = malformed(first)
	default:
		return false
	}
	e.done()
	e.send(first)
	return true
}

// serveSteps sends the steps of a stream, with the faults between and within its
// deltas. It returns the number of deltas sent, and whether a fault ended the stream.
func (e *exchange) serveSteps(s *script) (deltas int, ended bool) {
	for _, one := range s.steps {
		if one.says && deltas > 0 && deltas == e.fault.after && e.endMidway() {
			return deltas, true
		}
		for _, event := range one.events {
			e.send(e.spoil(event, one.says && deltas == max(0, e.fault.after)))
		}
		if one.says {
			deltas++
		}
		if one.says && deltas == 1 && (e.fault.kind == kindHuge || e.fault.kind == kindGzipBomb) {
			e.padding(e.fault.size, func(n int) string { return pad(s.empty, n) })
		}
		if one.token {
			e.wait(e.pace.PerToken)
		}
	}
	return deltas, false
}

// spoil changes an event if the fault requires it here.
func (e *exchange) spoil(event string, here bool) string {
	switch {
	case !here:
	case e.fault.kind == kindMalformedEvent:
		return malformed(event)
	case e.fault.kind == kindHugeEvent:
		return pad(event, e.fault.size)
	}
	return event
}

// endMidway acts out the faults between deltas, if there is one, and reports
// whether the answer ends here.
func (e *exchange) endMidway() bool {
	switch e.fault.kind {
	case kindCutStream:
		e.done()
		e.abort()
	case kindGoAwayMidway:
		e.done()
		e.breakOff("")
	case kindEndStream:
		e.done()
		return true
	case kindStallStream:
		e.hang()
	case kindStallKeepAlive:
		e.keepAliveForever()
	case kindErrorFrame:
		e.done()
		e.send(e.asks.failedEvent())
		return true
	}
	return false
}

// begin sends the headers, and then waits in the queue and until the first token. It
// reports whether an answer follows.
func (e *exchange) begin() bool {
	e.flush()
	form := e.s.host.Dialect
	switch e.fault.kind {
	case kindQueueForever:
		e.keepAliveForever()
	case kindSilence:
		if !e.asks.stream {
			e.hang()
		}
	case kindBlankThenClose:
		for range 60 {
			e.wait(e.pace.KeepAlive)
			e.send("\n")
		}
		e.done()
		return false
	case kindManyKeepAlives:
		var all strings.Builder
		for i := range e.fault.size {
			all.WriteString(e.asks.keepAlive(form, i))
		}
		e.send(all.String())
	}
	n := e.pace.keepAlives()
	for i := range n {
		e.wait(e.pace.KeepAlive)
		e.send(e.asks.keepAlive(form, i))
	}
	e.wait(e.pace.Queue - time.Duration(n)*e.pace.KeepAlive)
	e.wait(e.pace.FirstToken)
	return true
}

// keepAliveForever sends keep-alives until the client leaves.
func (e *exchange) keepAliveForever() {
	for i := 0; ; i++ {
		e.wait(e.pace.KeepAlive)
		e.send(e.asks.keepAlive(e.s.host.Dialect, i))
	}
}

// The shapes of errors inside a 200. They depend on the wire, not on the host.

// errorInside returns the usual error as a whole body.
func (q *question) errorInside() string {
	f := DialectOpenAI.words(dialect.Broken)
	if q.wire == Messages {
		return dialect.Anthropic(f)
	}
	return dialect.Nested(f)
}

// errorEvent returns the event that carries an error's body.
func (q *question) errorEvent(body string) string {
	switch q.wire {
	case Responses:
		// https://platform.openai.com/docs/api-reference/responses-streaming/error
		if f := DialectOpenAI.words(dialect.Broken); body == dialect.Nested(f) {
			return named("error", "code", f.Code, "message", f.Message, "param", nil, "sequence_number", 0)
		}
		return "event: error\n" + event(body)
	case Messages:
		return "event: error\n" + event(body)
	}
	return event(body)
}

// failedJSON returns the body with which a host reports that its answer failed.
func (q *question) failedJSON() string {
	if q.wire == Responses {
		return q.failedResponse().JSON()
	}
	return q.errorInside()
}

// failedEvent returns the event with which a host ends a stream that failed.
func (q *question) failedEvent() string {
	if q.wire == Responses {
		return named("response.failed", "sequence_number", 0, "response", q.failedResponse())
	}
	return q.errorEvent(q.errorInside())
}

func (q *question) failedResponse() fields {
	f := DialectOpenAI.words(dialect.Broken)
	return fields{
		"id", "failed", "object", "response", "model", q.model, "status", "failed",
		"error", fields{"code", "server_error", "message", f.Message}, "output", []fields{},
	}
}
