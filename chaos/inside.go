package chaos

import (
	"bytes"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater/internal/dialect"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// This file has the faults inside a 200.

// inside returns a 200 that the host never gave.
func (a *act) inside() *http.Response {
	contentType := "application/json"
	if a.q.stream {
		contentType = "text/event-stream; charset=utf-8"
	}
	b := newBody(a.req, nil)
	var text string
	switch a.rule.Fault {
	case QueueForever:
		b.source = b.life.keepingAlive(orDefault(a.rule.KeepAlive, time.Second), a.keepAlive)
	case BlankThenClose:
		slow := &rule{Rule: Rule{Queue: orDefault(a.rule.Queue, time.Minute), KeepAlive: a.rule.KeepAlive}}
		b.source = b.life.slowed(failing(io.EOF), slow, func(int) []byte { return []byte("\n") })
	case Silence:
		b.source = func() (piece, error) { return piece{}, b.life.hang() }
	case HTMLInside:
		contentType = "text/html; charset=utf-8"
		text = "<!DOCTYPE html>\n<html><head><title>Under maintenance</title></head><body><h1>We will be back soon</h1></body></html>\n"
	case ErrorInside:
		text = a.errorBody()
		if a.q.stream {
			text = a.errorEvent()
		}
	}
	length := int64(len(text))
	if b.source != nil || a.q.stream {
		length = -1
	}
	if b.source == nil {
		b.source = bytesOf(strings.NewReader(text))
	}
	resp := a.respond(http.StatusOK, contentType, length, b)
	if a.q.stream {
		resp.Header.Set("Cache-Control", "no-cache")
	}
	return resp
}

// spoil plays the faults that need the host's response.
func (a *act) spoil(resp *http.Response, p plan) {
	if p.fault != nil {
		if stream, ok := a.open(resp); ok {
			a.spoilBody(resp, stream)
		} else {
			a.injector.unfit(p.fault)
		}
	}
	a.slowDown(resp, p.slows)
}

// spoilBody plays a fault in an answer.
func (a *act) spoilBody(resp *http.Response, stream bool) {
	host := closeOnce(resp.Body)
	b := newBody(a.req, host)
	play := &spoiler{act: a, life: b.life, host: host}
	if stream {
		play.from = eventsOf(host, a.wire(), a.q.choices)
		b.source = play.inStream
		changeLength(resp)
	} else {
		play.from = wholeOf(host)
		b.source = play.inJSON
		switch a.rule.Fault {
		case CutStream, ResetStream, StallStream, EndStream: // the length is that of the whole answer
		default:
			changeLength(resp)
		}
	}
	resp.Body = b
}

// slowDown plays the faults that slow a response.
func (a *act) slowDown(resp *http.Response, slows []*rule) {
	for _, r := range slows {
		if r.Fault == Latency {
			continue
		}
		if resp.Body == nil || resp.Body == http.NoBody || resp.StatusCode == http.StatusSwitchingProtocols {
			a.injector.unfit(r)
			continue
		}
		stream := false
		if r.Fault == Slow {
			var ok bool
			if stream, ok = a.open(resp); !ok {
				a.injector.unfit(r)
				continue
			}
		}
		under := resp.Body
		b := newBody(a.req, under)
		switch {
		case r.Fault == Bandwidth:
			b.source = b.life.limited(bytesOf(under), r.BytesPerSecond)
		case stream:
			b.source = b.life.slowed(eventsOf(under, a.wire(), a.q.choices), r, a.keepAlive)
		default:
			b.source = b.life.slowed(firstIsPayload(bytesOf(under)), &rule{Rule: Rule{Queue: r.Queue, KeepAlive: r.KeepAlive, FirstToken: r.FirstToken}}, blankLine)
		}
		if r.Queue > 0 {
			changeLength(resp)
		}
		resp.Body = b
	}
}

func blankLine(int) []byte { return []byte("\n") }

// firstIsPayload marks the first bytes of a JSON answer.
func firstIsPayload(from source) source {
	begun := false
	return func() (piece, error) {
		p, err := from()
		p.payload, begun = !begun, true
		return p, err
	}
}

// open makes the answer in a response readable, and reports whether it is a stream. It is not
// ok if there is no answer, or one that cannot be read.
func (a *act) open(resp *http.Response) (stream, ok bool) {
	if resp.StatusCode < 200 || resp.StatusCode > 299 || resp.Body == nil || resp.Body == http.NoBody {
		return false, false
	}
	switch strings.ToLower(resp.Header.Get("Content-Encoding")) {
	case "", "identity":
	case "gzip", "x-gzip":
		resp.Body = onceCloser{&decoded{from: resp.Body}, resp.Body.Close}
		resp.Header.Del("Content-Encoding")
		resp.Uncompressed = true
		changeLength(resp)
	default:
		return false, false
	}
	media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	return media == "text/event-stream", true
}

// changeLength removes the length of a body that is changed.
func changeLength(resp *http.Response) {
	resp.Header.Del("Content-Length")
	if resp.ContentLength >= 0 && resp.ProtoMajor == 1 && resp.ProtoMinor > 0 {
		resp.TransferEncoding = []string{"chunked"}
	}
	resp.ContentLength = -1
}

// A spoiler plays a fault in an answer.
type spoiler struct {
	*act
	life     life
	from     source
	host     io.Closer // the answer, which the fault lets go of when it needs no more
	payloads int
	then     source // what follows; nil: more of the answer
}

// inStream is the source of a stream with a fault.
func (s *spoiler) inStream() (piece, error) {
	if s.then != nil {
		return s.then()
	}
	p, err := s.from()
	if err != nil {
		return p, err
	}
	switch s.rule.Fault {
	case CutJSON, MalformedJSON:
		if len(p.data) == 0 {
			return p, nil
		}
		s.end(failing(io.EOF))
		if s.rule.Fault == MalformedJSON {
			p.text = malformed(p.text)
		} else if at := bytes.IndexByte(p.text, '{'); at >= 0 {
			p.text = p.text[:at+len(p.text)/4]
		}
		return p, nil
	}
	here := p.last || p.payload && s.payloads >= s.rule.After
	if p.payload {
		s.payloads++
	}
	if !here {
		return p, nil
	}
	if s.rule.Fault == MalformedEvent {
		p.text, s.then = malformed(p.text), s.from
		return p, nil
	}
	s.end(s.ending())
	return s.then()
}

// ending returns what comes in place of the rest of a stream.
func (s *spoiler) ending() source {
	switch s.rule.Fault {
	case CutStream:
		return failing(io.ErrUnexpectedEOF)
	case ResetStream:
		return failing(resetError(s.req.URL))
	case StallStream:
		return func() (piece, error) { return piece{}, s.life.hang() }
	case StallKeepAlive:
		return s.life.keepingAlive(orDefault(s.rule.KeepAlive, time.Second), s.keepAlive)
	case ErrorFrame:
		return bytesOf(strings.NewReader(s.failedEvent()))
	}
	return failing(io.EOF)
}

// end lets go of the host.
func (s *spoiler) end(then source) {
	s.then = then
	_ = s.host.Close() // nothing more is wanted of it
}

// inJSON is the source of JSON with a fault.
func (s *spoiler) inJSON() (piece, error) {
	if s.then != nil {
		return s.then()
	}
	if s.rule.Fault == StallKeepAlive {
		s.end(s.life.keepingAlive(orDefault(s.rule.KeepAlive, time.Second), blankLine))
		return s.then()
	}
	p, err := s.from()
	if err != nil {
		return p, err
	}
	half := p.text[:len(p.text)/2]
	switch s.rule.Fault {
	case CutJSON:
		p.text = half
		s.end(failing(io.EOF))
	case MalformedJSON, MalformedEvent:
		p.text, s.then = malformed(p.text), s.from
	case CutStream, ResetStream, StallStream:
		p.text = half
		s.end(s.ending())
	case ErrorFrame:
		p.text = []byte(s.failedBody())
		s.end(failing(io.EOF))
	default: // EndStream
		s.then = s.from
	}
	return p, nil
}

// malformed removes a colon, so that even a tolerant parser refuses the rest.
func malformed(text []byte) []byte {
	at := bytes.IndexByte(text, '{')
	if at < 0 {
		return append([]byte("{"), text...)
	}
	colon := bytes.IndexByte(text[at:], ':')
	if colon < 0 {
		return bytes.Clone(text[:at+1])
	}
	return append(bytes.Clone(text[:at+colon]), text[at+colon+1:]...)
}

// keepingAlive sends keep-alives until the life ends.
func (l life) keepingAlive(every time.Duration, keepAlive func(int) []byte) source {
	n := 0
	return func() (piece, error) {
		if err := l.wait(every); err != nil {
			return piece{}, err
		}
		n++
		return piece{text: keepAlive(n - 1)}, nil
	}
}

// The texts of each wire.

// wire returns the format of the answers.
func (a *act) wire() wire.Wire { return request.Operation("/" + a.q.operation).Wire() }

// keepAlive returns the n-th keep-alive.
func (a *act) keepAlive(n int) []byte {
	switch comment := a.words.Row().Comment; {
	case !a.q.stream:
		return []byte("\n")
	case a.q.operation == "messages" && n%2 == 0:
		return []byte("event: ping\ndata: {\"type\":\"ping\"}\n\n")
	case comment != "":
		return []byte(comment)
	}
	return []byte(": keep-alive\n\n")
}

// errorBody returns the usual error as a whole body. Its shape depends on the wire, not on the
// host.
func (a *act) errorBody() string {
	f := dialect.OpenAI.Words(dialect.Broken)
	if a.q.operation == "messages" {
		return dialect.Anthropic(f)
	}
	return dialect.Nested(f)
}

// errorEvent returns the event that has an error in place of an answer.
func (a *act) errorEvent() string {
	switch a.q.operation {
	case "responses":
		// https://platform.openai.com/docs/api-reference/responses-streaming/error
		f := dialect.OpenAI.Words(dialect.Broken)
		return "event: error\ndata: " + dialect.Fields{"type", "error", "code", f.Code, "message", f.Message, "param", nil, "sequence_number", 0}.JSON() + "\n\n"
	case "messages":
		return "event: error\ndata: " + a.errorBody() + "\n\n"
	}
	return "data: " + a.errorBody() + "\n\n"
}

// failedBody and failedEvent are what a host sends whose answer failed.

func (a *act) failedBody() string {
	if a.q.operation == "responses" {
		return a.failedResponse().JSON()
	}
	return a.errorBody()
}

func (a *act) failedEvent() string {
	if a.q.operation == "responses" {
		return "event: response.failed\ndata: " + dialect.Fields{"type", "response.failed", "sequence_number", 0, "response", a.failedResponse()}.JSON() + "\n\n"
	}
	return a.errorEvent()
}

func (a *act) failedResponse() dialect.Fields {
	f := dialect.OpenAI.Words(dialect.Broken)
	return dialect.Fields{
		"id", "failed", "object", "response", "model", a.q.model, "status", "failed",
		"error", dialect.Fields{"code", "server_error", "message", f.Message}, "output", []dialect.Fields{},
	}
}
