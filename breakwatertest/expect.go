package breakwatertest

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// A Client says what is expected of the client that calls the hosts. The zero Client expects
// what every client owes a host; its fields change that.
type Client struct {
	// MaxAttempts is how many requests one prompt may make at one host. Give each call a
	// prompt of its own. Default 3; negative: any number.
	MaxAttempts int
	// MinWait is the least time between a 429 or 503 without Retry-After and the next request
	// with the same prompt and key. Default: some time, however short, which only a bubble's
	// clock can tell from none.
	MinWait time.Duration
	// SharedRetryAfter expects that a Retry-After holds for every prompt with the same key, not
	// only for the one that was refused.
	SharedRetryAfter bool
	// MaxRefused is how many requests of one key a host may refuse with 429 or 503 within a
	// minute, whatever their prompts. Default: any number.
	MaxRefused int
	// MaxConnections is how many connections a host accepts in all. Default: any number.
	MaxConnections int
	// Keys are further keys by the name of their host, which no other may get. Those of
	// Host.Keys and Server.SetKeys are known.
	Keys map[string][]string
	// Allowed says whether a prompt may go to a host. nil: any may.
	Allowed func(prompt, host string) bool
	// Grace is how long a request may stay open after the client has given its answer, or was
	// cancelled. Default 1s.
	Grace time.Duration
}

// A Fail is a kind of [Finding].
type Fail string

const (
	TooEarly      Fail = "retried too early"        // before Retry-After ended, or without a wait
	Hammered      Fail = "hammered"                 // more attempts, refusals or connections than expected
	Resent        Fail = "resent"                   // what was refused for good: 400, 401, 402, 403, 404, 413, 422
	TookHalf      Fail = "took half for whole"      // it reported success, and its text is not the answer
	LeakedKey     Fail = "leaked a key"             // a key of another host
	LeakedPrompt  Fail = "leaked a prompt"          // one that Client.Allowed keeps away
	LeftOpen      Fail = "left a request open"      // after it gave its answer
	IgnoredCancel Fail = "went on after its cancel" // a request stayed open, or a new one came
)

// A Finding is what a client did wrong. It quotes no prompt, key or answer.
type Finding struct {
	Fail Fail
	// Host is the host's name; empty for TookHalf.
	Host string
	// Request is the number of the request in [Server.Requests], from 1; 0: it is not about
	// one request.
	Request int
	// Detail says what was seen, and what was expected.
	Detail string
}

// String returns one line with all fields.
func (f Finding) String() string {
	var about []string
	if f.Host != "" {
		about = append(about, f.Host)
	}
	if f.Request > 0 {
		about = append(about, fmt.Sprintf("request %d", f.Request))
	}
	about = append(about, string(f.Fail))
	return strings.Join(about, ": ") + ": " + f.Detail
}

// A TB is what [Fleet.Expect] needs of a [testing.TB].
type TB interface {
	Helper()
	Cleanup(func())
	Errorf(format string, args ...any)
}

// An Expectation watches the client of a server or a fleet. It is safe for concurrent use.
type Expectation struct {
	servers []*Server // of the fleet
	judged  []*Server
	client  Client

	mu    sync.Mutex
	words []word
}

// A word is what a client said to its caller, or heard from it.
type word struct {
	prompt    string
	at        time.Time
	cancelled bool
	reply     Reply
	err       error
}

// Expect says what is expected of the client that calls this host. When the test ends, each
// [Finding] fails it; t may be nil, and [Expectation.Findings] be asked instead. Close the
// fleet later, with t.Cleanup before Expect: requests that are open are judged then.
func (s *Server) Expect(t TB, c Client) *Expectation {
	return expect(t, c, s.fleet.servers, []*Server{s})
}

// Expect is [Server.Expect] for all hosts of the fleet.
func (f *Fleet) Expect(t TB, c Client) *Expectation { return expect(t, c, f.servers, f.servers) }

func expect(t TB, c Client, all, judged []*Server) *Expectation {
	c.MaxAttempts, c.Grace = cmp.Or(c.MaxAttempts, 3), cmp.Or(c.Grace, time.Second)
	e := &Expectation{servers: all, judged: judged, client: c}
	if t != nil {
		t.Helper()
		t.Cleanup(func() {
			t.Helper()
			for _, f := range e.Findings() {
				t.Errorf("%s", f)
			}
		})
	}
	return e
}

// Got tells what the client gave its caller for a prompt. An answer that is not whole and right
// is a [TookHalf] if err is nil, and the finish reason claims no other end.
func (e *Expectation) Got(prompt string, reply Reply, err error) {
	e.say(word{prompt: prompt, reply: reply, err: err})
}

// Cancelled tells that the caller has just cancelled the call with a prompt.
func (e *Expectation) Cancelled(prompt string) { e.say(word{prompt: prompt, cancelled: true}) }

func (e *Expectation) say(w word) {
	w.at = time.Now()
	e.mu.Lock()
	defer e.mu.Unlock()
	e.words = append(e.words, w)
}

// Findings returns what the client did wrong so far: host by host, each in the order of its
// requests. It waits up to Client.Grace for requests that are still open.
func (e *Expectation) Findings() []Finding {
	e.mu.Lock()
	words := slices.Clone(e.words)
	e.mu.Unlock()
	e.settle(words)
	var all []Finding
	for _, s := range e.judged {
		all = append(all, e.judge(s, words)...)
	}
	for _, w := range words {
		if !w.cancelled && w.err == nil && !w.isRight() {
			all = append(all, Finding{TookHalf, "", 0, fmt.Sprintf("it reported success with %d of %d bytes of the answer, or others", len(w.reply.Content), len(Answer(w.prompt)))})
		}
	}
	return all
}

// isRight reports whether the reply is whole, or says itself that it is not.
func (w *word) isRight() bool {
	switch w.reply.FinishReason {
	case "", "stop", "end_turn", "completed", "tool_calls", "tool_use":
	default:
		return true
	}
	if w.reply.Content == "" && w.reply.ToolArguments != "" {
		return w.reply.ToolArguments == ToolArguments(w.prompt)
	}
	return w.reply.Content == Answer(w.prompt)
}

// settle waits until all that clients have finished has ended, or until Grace is over.
func (e *Expectation) settle(words []word) {
	last := time.Time{}
	for _, w := range words {
		last = w.at
	}
	for wait := e.client.Grace + time.Nanosecond - time.Since(last); wait > 0 && !last.IsZero() && e.open(); wait = e.client.Grace + time.Nanosecond - time.Since(last) {
		time.Sleep(min(wait, 10*time.Millisecond))
	}
}

func (e *Expectation) open() bool {
	return slices.ContainsFunc(e.judged, func(s *Server) bool {
		return slices.ContainsFunc(s.saw(), func(one sighting) bool { return one.ended.IsZero() })
	})
}

// judge returns what a host can say of its client.
func (e *Expectation) judge(s *Server, words []word) (all []Finding) {
	seen := s.saw()
	for i, one := range seen {
		find := func(f Fail, format string, args ...any) {
			all = append(all, Finding{f, s.Name(), one.number, fmt.Sprintf(format, args...)})
		}
		for _, other := range e.servers {
			if other != s && e.leaks(&one, other, s) {
				find(LeakedKey, "it holds a key of %s", other.Name())
			}
		}
		if !one.answer {
			continue
		}
		if e.client.Allowed != nil && one.prompt != "" && !e.client.Allowed(one.prompt, s.Name()) {
			find(LeakedPrompt, "its prompt may not go to this host")
		}
		e.repeats(seen[:i], &one, find)
		e.ends(&one, words, find)
	}
	if n := s.Connections(); e.client.MaxConnections > 0 && n > e.client.MaxConnections {
		all = append(all, Finding{Hammered, s.Name(), 0, fmt.Sprintf("%d connections, want at most %d", n, e.client.MaxConnections)})
	}
	return all
}

// leaks reports whether a request at s holds a key of other that is not of s, too.
func (e *Expectation) leaks(one *sighting, other, s *Server) bool {
	own := append(s.knownKeys(), e.client.Keys[s.Name()]...)
	return slices.ContainsFunc(append(other.knownKeys(), e.client.Keys[other.Name()]...), func(key string) bool {
		return !slices.Contains(own, key) && one.holds(key)
	})
}

// repeats compares a request with those before it.
func (e *Expectation) repeats(before []sighting, one *sighting, find func(Fail, string, ...any)) {
	attempts, refused := 1, 0
	var early, final *sighting
	for i := range before {
		past := &before[i]
		if past.asksAs(one) {
			attempts++
		}
		if past.in.Key != one.in.Key || past.status == 0 || past.refused.After(one.in.Time) {
			continue // the client had not heard of a refusal
		}
		if past.isOverload() && one.in.Time.Sub(past.refused) < time.Minute {
			refused++
		}
		if e.client.isEarly(past, one) {
			early = past
		}
		if past.answer && past.isFinal() && past.body == one.body {
			final = past
		}
	}
	if early != nil {
		find(TooEarly, "it came %v after request %d, which was refused with %d and Retry-After %v", one.in.Time.Sub(early.refused), early.number, early.status, early.wait)
	}
	if final != nil {
		find(Resent, "request %d was the same, and was refused with %d", final.number, final.status)
	}
	if e.client.MaxAttempts > 0 && attempts > e.client.MaxAttempts {
		find(Hammered, "attempt %d with its prompt, want at most %d", attempts, e.client.MaxAttempts)
	}
	if e.client.MaxRefused > 0 && refused >= e.client.MaxRefused {
		find(Hammered, "%d requests of its key were refused in the minute before, want at most %d", refused, e.client.MaxRefused)
	}
}

// isEarly reports whether one came too soon after past was refused.
func (c *Client) isEarly(past, one *sighting) bool {
	waited := one.in.Time.Sub(past.refused)
	same := past.asksAs(one)
	if past.wait > 0 {
		return (same || c.SharedRetryAfter) && waited < past.wait
	}
	return same && past.isOverload() && waited < max(c.MinWait, 1)
}

// ends compares a request with what the client said.
func (e *Expectation) ends(one *sighting, words []word, find func(Fail, string, ...any)) {
	end := cmp.Or(one.ended, time.Now())
	for _, w := range words {
		if w.prompt != one.prompt {
			continue
		}
		latest := w.at.Add(e.client.Grace)
		late, fail := end.After(latest) && !one.in.Time.After(w.at), LeftOpen
		if w.cancelled { // then a new request is a mistake, too
			late, fail = end.After(latest), IgnoredCancel
		}
		if late {
			find(fail, "it was open %v later", end.Sub(w.at))
			return
		}
	}
}

func (s *Server) knownKeys() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.known)
}
