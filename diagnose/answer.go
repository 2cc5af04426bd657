package diagnose

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/health"
	"github.com/breakwater-go/breakwater/internal/host"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// A Wire is an API by which a host is asked for an answer.
type Wire string

const (
	Chat       Wire = "chat"       // POST /chat/completions
	FIM        Wire = "fim"        // POST /completions, with a text before and one behind
	Responses  Wire = "responses"  // POST /responses
	Messages   Wire = "messages"   // POST /v1/messages, Anthropic's
	Embeddings Wire = "embeddings" // POST /embeddings; there is no stream
)

var wires = map[Wire]request.Operation{
	Chat: request.Chat, FIM: request.Completions, Responses: request.Responses, Messages: request.Messages, Embeddings: request.Embeddings,
}

// wireOf returns the wire that is asked.
func (d *diagnosis) wireOf() Wire {
	if d.wire != "" {
		return d.wire
	}
	if path := strings.TrimSuffix(strings.TrimRight(d.target.Path, "/"), "/v1"); strings.HasSuffix(path, "/anthropic") {
		return Messages
	}
	return Chat
}

func (d *diagnosis) operation() request.Operation { return wires[d.wireOf()] }

const (
	shortAnswer  = 1  // tokens
	leastOfOther = 16 // tokens that the Responses API gives at least
	longAnswer   = 64 // of the stream, so that its pace shows
)

// bodyFor returns the body of a request for an answer.
func (d *diagnosis) bodyFor(model string, stream bool) []byte {
	prompt, tokens := "Say yes.", shortAnswer
	if stream {
		prompt, tokens = "Count from 1 to 30, with blanks in between.", longAnswer
	}
	body := map[string]any{"model": model}
	switch d.wireOf() {
	case FIM:
		body["prompt"], body["suffix"], body["max_tokens"] = "def add(a, b):\n", "\n\nprint(add(1, 2))", tokens
	case Responses:
		body["input"], body["max_output_tokens"] = prompt, max(tokens, leastOfOther)
	case Messages:
		body["messages"], body["max_tokens"] = []map[string]string{{"role": "user", "content": prompt}}, tokens
	case Embeddings:
		body["input"] = prompt
	default:
		body["messages"], body["max_tokens"] = []map[string]string{{"role": "user", "content": prompt}}, tokens
	}
	if stream {
		body["stream"] = true
	}
	if field := d.profile.ThinkingField; field != request.ThinkingUnknown && d.wireOf() == Chat {
		body[field.Name()] = json.RawMessage(field.Value(false)) // thinking would take long, and cost more
	}
	text, _ := json.Marshal(body) // of such values it never fails
	return text
}

// answerURL returns where the endpoint serves the wire, or false if its host does not.
func (d *diagnosis) answerURL() (*url.URL, bool) {
	base := *d.target
	base.Path = strings.TrimRight(base.Path, "/")
	paths := host.PathsOf(d.profile, &base)
	root, ok := paths.RootOf(d.operation())
	base.Path = root + string(d.operation())
	return &base, ok
}

// askForAnswers asks for both answers at the same time.
func (d *diagnosis) askForAnswers(ctx context.Context, listed *health.Models) {
	model := d.askedModel(listed)
	at, ok := d.answerURL()
	kinds := []bool{false, true}
	if d.wireOf() == Embeddings {
		kinds = kinds[:1]
		d.stage(StageStream, func(s *stage) { s.skip("not told") })
	}
	if ctx.Err() != nil {
		d.outOfTime(StageJSON)
		return
	}
	var asked sync.WaitGroup
	for _, stream := range kinds {
		name := StageJSON
		if stream {
			name = StageStream
		}
		asked.Go(func() {
			d.stage(name, func(s *stage) {
				switch {
				case !ok:
					s.skip("no operation")
				case listed == nil && d.codeWithoutKey(KeyRejected) == "":
					s.skip("needs key")
				case model == "":
					s.skip("no model")
				default:
					d.askForAnswer(ctx, s, at, model, stream, listed)
				}
			})
		})
	}
	asked.Wait()
}

// A reading is one inference call.
type reading struct {
	observation
	attempt breakwater.Attempt
	resp    *http.Response
	body    []byte // of a refusal
	err     error
	took    time.Duration
	limit   time.Duration // how long it was waited for
	first   time.Duration // to the first part that breakwater passed on
	last    time.Duration
	gap     time.Duration // the longest between two parts
	parts   int           // events with data
	expired bool
}

func (d *diagnosis) askForAnswer(ctx context.Context, s *stage, at *url.URL, model string, stream bool, listed *health.Models) {
	r := d.read(ctx, at, model, stream)
	answer := Answer{
		Stream: stream, Wire: d.wireOf(), Model: clean(model), Class: r.attempt.Class, Status: r.status, Headers: Millis(r.headers), KeepAlives: r.keepAlives,
		Queue: Millis(r.lastKeepAlive), FirstToken: Millis(r.attempt.FirstToken), Took: Millis(r.took), Tokens: r.attempt.Usage.CompletionTokens,
		LongestGap: Millis(r.gap), RequestID: clean(r.attempt.RequestID), ServedBy: clean(r.attempt.Served),
	}
	if answer.Tokens == 0 && stream {
		answer.Tokens = r.parts
	}
	if over := r.last - r.first; stream && over > 0 && answer.Tokens > 1 {
		answer.PerSecond = float64(answer.Tokens-1) / over.Seconds()
	}
	d.mu.Lock()
	d.report.Answers = append(d.report.Answers, answer)
	d.mu.Unlock()
	if r.reuseBroke {
		s.find(ReuseBroken, nil, io.EOF)
	}
	request := term("json request")
	if stream {
		request = "stream request"
	}
	c := d.causeOf(ctx, &r, model, stream, listed)
	if c.code != "" {
		c.args["request"] = request
		s.find(c.code, c.args, c.err)
		return
	}
	d.tellPace(s, &r, answer, request)
}

const (
	slowFirst = 10 * time.Second
	slowRate  = 5.0 // tokens a second
	longGap   = 5 * time.Second
)

// tellPace tells how fast a good answer came.
func (d *diagnosis) tellPace(s *stage, r *reading, a Answer, request term) {
	if a.Stream && a.FirstToken.Duration() > slowFirst {
		s.find(FirstTokenSlow, args{"request": request, "took": a.FirstToken}, nil)
	}
	if a.Stream && a.PerSecond > 0 && a.PerSecond < slowRate && a.Tokens >= 8 {
		s.find(TokensSlow, args{"request": request, "rate": a.PerSecond}, nil)
	}
	if r.gap > longGap {
		s.find(StreamGaps, args{"request": request, "gap": r.gap}, nil)
	}
	queued := phrase{}
	if a.Queue > 0 {
		queued = phrase{"queued", args{"queue": a.Queue}}
	}
	if a.Stream {
		s.say("streamed", args{"first": a.FirstToken, "rate": a.PerSecond, "queued": queued})
		return
	}
	s.say("answered", args{"tokens": a.Tokens, "took": a.Took, "queued": queued})
}

// read makes one call and reads its answer to the end.
func (d *diagnosis) read(ctx context.Context, at *url.URL, model string, stream bool) reading {
	o := new(observer)
	start := time.Now()
	limit := d.timeout
	if deadline, ok := ctx.Deadline(); ok {
		limit = time.Until(deadline)
	}
	r := within(ctx, d.timeout/graceShare, reading{err: context.DeadlineExceeded}, func() reading {
		return d.call(ctx, at, model, stream, o)
	})
	r.observation, r.limit = o.view(), limit
	r.took = time.Since(start)
	r.expired = ctx.Err() != nil
	return r
}

// call makes the call of read.
func (d *diagnosis) call(ctx context.Context, at *url.URL, model string, stream bool, o *observer) (r reading) {
	start := time.Now()
	base := d.base.Clone() // on a connection of its own, so that two answers do not break each other
	defer base.CloseIdleConnections()
	t, err := d.client(d.endpoint, o, base)
	if err != nil {
		r.err = err
		return r
	}
	defer t.Close()
	var trail breakwater.Trail
	defer func() {
		if attempts := trail.Attempts(); len(attempts) > 0 {
			r.attempt = attempts[len(attempts)-1]
		}
	}()
	defer func() {
		if p := recover(); p != nil {
			r.err = fmt.Errorf("%w: %T", errPanicked, p)
		}
	}()
	req, err := http.NewRequestWithContext(breakwater.WithCall(ctx, breakwater.Call{Trail: &trail, NoCache: true}), http.MethodPost, at.String(), bytes.NewReader(d.bodyFor(model, stream)))
	if err != nil {
		r.err = err
		return r
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json")
	if stream {
		req.Header.Set("Accept", "text/event-stream")
	}
	if d.wireOf() == Messages {
		req.Header.Set("Anthropic-Version", "2023-06-01")
	}
	if r.resp, r.err = t.RoundTrip(req); r.err != nil {
		return r
	}
	defer r.resp.Body.Close()
	r.readBody(start, stream)
	return r
}

// readBody reads an answer, and keeps the words of a refusal.
func (r *reading) readBody(start time.Time, stream bool) {
	buf := make([]byte, 32<<10)
	read := 0
	for read < maxAnswer {
		n, err := r.resp.Body.Read(buf)
		read += n
		if now := time.Since(start); n > 0 {
			if r.first == 0 {
				r.first = now
			} else if stream {
				r.gap = max(r.gap, now-r.last)
			}
			r.last = now
			r.parts += bytes.Count(buf[:n], []byte("data:"))
			if r.resp.StatusCode != http.StatusOK && len(r.body) < keptText {
				r.body = append(r.body, buf[:n]...)
			}
		}
		if err == io.EOF {
			return
		}
		if err != nil {
			r.err = err
			return
		}
	}
}

// causeOf says why a call failed; its code is empty if it did not.
func (d *diagnosis) causeOf(ctx context.Context, r *reading, model string, stream bool, listed *health.Models) cause {
	limit := args{"limit": r.limit, "count": r.keepAlives, "code": phrase{}, "reason": string(r.attempt.Class)}
	with := func(code Code) cause { return cause{code, limit, r.err} }
	if r.err == nil && r.resp != nil && r.resp.StatusCode == http.StatusOK && (r.attempt.Class == breakwater.ClassOK || r.attempt.Class == "") {
		return cause{}
	}
	switch {
	case r.status == 0: // nothing came
		waiting := HostSilent
		if listed != nil {
			waiting = AnswerNotStarted
		}
		expired, cancel := context.WithCancel(ctx)
		defer cancel()
		if isTimeout(r.err) {
			cancel()
		}
		c := d.connectionCause(expired, r.observation, r.err, r.limit, waiting)
		return c
	case r.status < 200 || r.status > 299:
		c := d.refusalCause(r.status, r.header, r.wordsOf(), &url.URL{Path: string(d.operation())})
		if (c.code == KeyRejected || c.code == KeyNotReceived) && d.codeWithoutKey(c.code) != c.code {
			c.code, c.err = KeyMissing, breakwater.ErrNoKey
		}
		if c.code == ModelUnknown || c.code == ModelRetired {
			c.args["model"] = clean(model)
			if listed != nil {
				c.args["listed"] = phrase{"it lists", args{"listed": d.some(listed)}}
			}
		}
		return c
	case r.expired || isTimeout(r.err) && r.end != io.EOF:
		return with(r.silence())
	}
	return d.insideCause(r, stream, with)
}

// wordsOf returns the body of a refusal.
func (r *reading) wordsOf() []byte {
	if len(r.body) > 0 {
		return r.body
	}
	return r.text
}

// silence returns the code of a 200 that did not end in time.
func (r *reading) silence() Code {
	switch {
	case r.parts > 0:
		return AnswerStalled
	case r.keepAlives > 0 && r.payload == 0:
		return AnswerQueued
	case r.payload > 0 && !isEvents(r.text): // half of a JSON answer
		return AnswerStalled
	}
	return AnswerSilent
}

func isEvents(text []byte) bool {
	return bytes.HasPrefix(text, []byte("data:")) || bytes.HasPrefix(text, []byte("event:")) || bytes.HasPrefix(text, []byte("id:"))
}

// insideCause says what is wrong within a 200 that has ended.
func (d *diagnosis) insideCause(r *reading, stream bool, with func(Code) cause) cause {
	said := ""
	if r.end != nil && r.end != io.EOF {
		said = r.end.Error()
	}
	text := bytes.TrimSpace(r.text)
	switch {
	case strings.Contains(said, "GOAWAY"):
		return with(HTTP2GoAway)
	case said != "":
		return with(AnswerBroken)
	case r.payload == 0 && r.keepAlives > 0:
		return with(AnswerBlank)
	case len(text) == 0:
		return with(AnswerEmpty)
	case isWebPage(nil, text):
		return with(WebPage)
	case bytes.Contains(text, []byte("insufficient_system_resource")):
		return with(OutOfResources)
	}
	if words, ok := errorIn(text); ok {
		return d.errorCause(words, with)
	}
	switch r.attempt.Class {
	case outcome.Unavailable, outcome.RateLimited, outcome.NoFunds, outcome.KeyRejected, outcome.Filtered:
		return with(AnswerError)
	case outcome.Truncated:
		return with(AnswerCut)
	case outcome.Stalled:
		return with(AnswerStalled)
	case outcome.BadResponse:
		if r.end == io.EOF && isCut(text) {
			return with(AnswerCut)
		}
		return with(AnswerMalformed)
	}
	if errors.Is(r.err, breakwater.ErrTruncated) {
		return with(AnswerCut)
	}
	return with(NoAnswer)
}

// errorIn returns an error in an answer that is JSON, or in the last event of a stream.
func errorIn(text []byte) ([]byte, bool) {
	last := text
	if i := bytes.LastIndex(text, []byte("data:")); isEvents(text) && i >= 0 {
		last = bytes.TrimSpace(text[i+len("data:"):])
	}
	if !wire.Valid(last) {
		return nil, false
	}
	var members map[string]json.RawMessage
	if json.Unmarshal(last, &members) != nil {
		return nil, false
	}
	for _, name := range []string{"error", "response", "code"} {
		if v, ok := members[name]; ok && (name != "response" || bytes.Contains(v, []byte(`"error"`))) {
			return last, true
		}
	}
	return nil, false
}

// errorCause says what an error inside a 200 means. It is the host's, unless its words are those
// of a refusal that has another cause.
func (d *diagnosis) errorCause(words []byte, with func(Code) cause) cause {
	refusal := wire.RefusalOf(words)
	c := with(AnswerError)
	c.args["code"] = codePhrase(refusal)
	return c
}

// isCut reports whether a text is the beginning of JSON.
func isCut(text []byte) bool {
	if i := bytes.LastIndex(text, []byte("data:")); isEvents(text) && i >= 0 {
		text = bytes.TrimSpace(text[i+len("data:"):])
	}
	err := json.NewDecoder(bytes.NewReader(text)).Decode(new(json.RawMessage))
	return errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF)
}
