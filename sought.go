package breakwater

import (
	"slices"
	"strings"
	"sync"

	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/key"
	"github.com/breakwater-go/breakwater/internal/store"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// A sought is what a call looks for in the cache.
type sought struct {
	scope key.Scope
	exact key.Key      // of the body as it came
	key   key.Key      // of what it says; zero: not known yet
	entry *store.Entry // found by its exact key
}

// recall finds what is known of a call whose very bytes were seen before, and
// spares it the look into its body. It reports false if nothing is.
func (k *cache) recall(c *call) bool {
	if k == nil || c.NoCache || c.body() == nil || c.encoded {
		return false
	}
	s := &sought{}
	c.sought = s
	switch {
	case c.Scope != "":
		s.scope = key.OfName(c.Scope)
	case k.policy.Scope != nil:
		s.scope = key.OfName(k.policy.Scope(c.req))
	default:
		s.scope = key.OfCredential(c.credential())
	}
	var room [512]byte
	about := c.about(room[:0])
	if acceptsEvents(c.req.Header) { // it tells the form, where the body does not
		about = key.Append(key.Append(about, "accept"), "text/event-stream")
	}
	var ok bool
	if s.exact, ok = s.scope.Key(key.Exact, about, c.body()); !ok {
		return false
	}
	known, e, params, ok := k.kept.Find(s.exact)
	if ok {
		s.key, s.entry, c.params = known, e, *params
	}
	return ok
}

// canonical finds the key of what the call says, whatever form it wants that in.
// One whose form is unclear is kept by its very bytes.
func (k *cache) canonical(c *call) bool {
	s := c.sought
	if c.format() == store.Unclear {
		s.key = s.exact
		return s.key != key.Key{}
	}
	text := canonicals.Get().(*[]byte)
	defer canonicals.Put(text)
	var ok bool
	if *text, ok = wire.Canonical((*text)[:0], c.body(), "stream", "stream_options"); !ok {
		s.key = s.exact
		return s.key != key.Key{}
	}
	var room [512]byte
	s.key, ok = s.scope.Key(key.Canonical, c.about(room[:0]), *text)
	return ok
}

var canonicals = sync.Pool{New: func() any { return new([]byte) }}

// spell has the call's very bytes known from now on.
func (k *cache) spell(c *call) {
	params := c.params
	number := 0
	if params.Stream {
		number = 1
	}
	k.kept.Spell(c.sought.key, number, c.sought.exact, &params, aliasSize)
}

// about appends what besides scope and body makes calls differ: the operation,
// the URL, the endpoint asked for, and the headers, for a gateway may go by any
// of them. Those that are a credential belong to the scope.
func (c *call) about(text []byte) []byte {
	u := c.req.URL
	text = key.Append(text, u.Opaque)
	text = key.Append(text, string(c.op))
	text = key.Append(text, u.Scheme)
	text = key.Append(text, u.Host)
	text = key.Append(text, u.Path)
	text = key.Append(text, u.RawPath)
	text = key.Append(text, u.RawQuery)
	text = key.Append(text, c.req.Host)
	if u.User != nil {
		text = key.Append(text, u.User.String())
	}
	if c.Endpoint != "" {
		text = key.Append(key.Append(text, "endpoint"), c.Endpoint)
	}
	var room [16]string
	names := room[:0]
	for name := range c.req.Header {
		if !isIndifferent(name) && !header.IsCredential(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		for _, v := range c.req.Header[name] {
			text = key.Append(key.Append(text, name), v)
		}
	}
	return text
}

// isIndifferent reports whether a header neither says who asks nor changes what
// is answered: those of the client, of the connection, of the cache, and of traces.
func isIndifferent(name string) bool {
	switch name {
	case "Accept", "Accept-Charset", "Accept-Encoding", "Accept-Language", "Cache-Control", "Connection", "Content-Length", "Content-Type", "Date", "Expect",
		"Http-Referer", "Idempotency-Key", "Keep-Alive", "Origin", "Pragma", "Priority", "Referer", "Te", "Transfer-Encoding", "User-Agent", "Via", "X-Title",
		"Traceparent", "Tracestate", "Baggage", "B3", "Sentry-Trace", "Uber-Trace-Id", "X-Amzn-Trace-Id", "X-Cloud-Trace-Context",
		"X-Request-Id", "X-Client-Request-Id", "X-Correlation-Id":
		return true
	}
	return strings.HasPrefix(name, "X-Stainless-") || strings.HasPrefix(name, "X-B3-") || strings.HasPrefix(name, "X-Datadog-")
}
