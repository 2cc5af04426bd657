package breakwater

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"io"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/recast"
	"github.com/breakwater-go/breakwater/internal/store"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// An entry is an answer as it was given, in bytes.
type entry struct {
	Stored   time.Time
	Header   http.Header
	Endpoint string
	Asked    form // how it was asked for
	Streamed bool // it came as events; else as JSON
	Usage    bool // it says what it took
	body     []byte
}

// notKept are the headers of an answer that speak of its way, in lower case.
var notKept = []string{
	"date", "content-length", "connection", "keep-alive", "proxy-connection", "transfer-encoding", "trailer", "age", "cache-status", "openai-processing-ms",
	strings.ToLower(header.Attempts),
}

// ofTheFirst are parts of the names of headers that speak of its first caller:
// of the account, and of what was left of its limits then.
var ofTheFirst = []string{
	"cookie", "authenticat", "retry", "limit", "quota", "credit", "balance", "budget", "spend", "billing",
	"organization", "project", "account", "tenant", "customer",
}

// keptHeader is what others than its first caller see of an answer's header. In
// a scope of one credential that is all but what speaks of the first call; in one
// that is shared, only what passes from another origin, too: who else asked is as
// foreign, and a list of what stays out would miss the headers of tomorrow.
func keptHeader(h http.Header, shared bool) http.Header {
	own := store.RestrictionOf(h, shared).Fields
	for _, line := range h["Connection"] {
		own = append(own, listed(line)...) // RFC 9110, section 7.6.1
	}
	kept := make(http.Header, len(h))
	for name, values := range h {
		lower := strings.ToLower(name)
		isPart := func(part string) bool { return strings.Contains(lower, part) }
		if slices.Contains(notKept, lower) || slices.Contains(own, lower) || slices.ContainsFunc(ofTheFirst, isPart) {
			continue
		}
		if !shared || header.IsSafelisted(name) || textproto.CanonicalMIMEHeaderKey(name) == header.Endpoint {
			kept[name] = slices.Clone(values)
		}
	}
	return kept
}

// listed are the members of a list, in lower case.
func listed(list string) []string {
	return strings.FieldsFunc(strings.ToLower(list), func(r rune) bool { return r == ',' || r == ' ' || r == '\t' })
}

// mayBeGiven reports whether the answer's own word allows it to be given to a
// call: what another process keeps may be an older version's.
func (e *entry) mayBeGiven(c *call) bool {
	return reachOf(e.Header, c.sought.scope.Shared()) == everywhere
}

// size is about what the entry takes of memory.
func (e *entry) size() int64 {
	n := len(e.body) + len(e.Endpoint) + 512
	for name, values := range e.Header {
		n += len(name) + 64
		for _, v := range values {
			n += len(v) + 16
		}
	}
	return int64(n)
}

// spellingSize is about what one more spelling of a call takes.
const spellingSize = 448

func (e *entry) age(now time.Time) time.Duration { return max(now.Sub(e.Stored), 0) }

// in returns the answer as a call wants it, as a stream or as JSON, whatever it
// came as. It reports false where that cannot be made of what there is, or where
// what the answer took is missing and the call has a right to it; what is only a
// stand-in for a failure may lack it.
func (e *entry) in(c *call, standsIn bool) (body []byte, ok bool) {
	switch wants := c.form(); {
	case wants.given(e.Streamed) == e.Streamed && (wants == e.Asked || !e.Streamed):
		return e.body, true // as it came
	case wants == formStream && e.Streamed:
		return recast.DropUsageEvents(e.body), true
	case wants == formStreamUsage && e.Streamed:
		return e.body, e.Usage || standsIn
	case wants == formJSON && (e.Usage || standsIn):
		return recast.ToJSON(c.op.wire(), e.body)
	case wants == formStream, wants == formStreamUsage:
		return recast.ToStream(c.op.wire(), e.body)
	}
	return nil, false
}

// recastHeader gives a header the type of the other form, and takes out what
// speaks of the very bytes.
func recastHeader(h http.Header, stream bool) {
	for _, name := range [...]string{"Content-Length", "Content-Encoding", "Etag", "Content-Md5", "Content-Digest", "Repr-Digest", "Digest"} {
		delete(h, name)
	}
	if stream {
		h["Content-Type"] = []string{"text/event-stream"}
	} else {
		h["Content-Type"] = []string{"application/json"}
	}
}

// can reports whether the answer can be had as a call wants it, if it stands in
// for a failure.
func (e *entry) can(c *call) bool {
	_, ok := e.in(c, true)
	return ok
}

// sound reports whether an answer has what the call asked for: a vector for
// each input, and JSON as the arguments of tool calls, which models do cut. An
// answer that its caller will throw away is not one to keep.
func (c *call) sound(body []byte, streamed bool) bool {
	w := c.op.wire()
	if w == wire.Embeddings {
		return gjson.GetBytes(body, "data.#").Int() == int64(promptsIn(gjson.GetBytes(c.body(), "input")))
	}
	if !bytes.Contains(body, []byte(`"arguments"`)) && !bytes.Contains(body, []byte(`"input_json_delta"`)) {
		return true
	}
	if streamed {
		var ok bool
		if body, ok = recast.ToJSON(w, body); !ok {
			return false
		}
	}
	list, paths := "choices", []string{"message.tool_calls.#.function.arguments", "message.function_call.arguments"}
	if w == wire.Responses {
		list, paths = "output", []string{"arguments"}
	}
	sound := true
	check := func(_, arguments gjson.Result) bool {
		sound = sound && (arguments.Str == "" || wire.Valid([]byte(arguments.Str)))
		return sound
	}
	gjson.GetBytes(body, list).ForEach(func(_, item gjson.Result) bool {
		for _, path := range paths {
			item.Get(path).ForEach(check) // of a text, too
		}
		return sound
	})
	return sound
}

// A replayed is a response from memory, with what belongs to it.
type replayed struct {
	resp   http.Response
	body   exchange.Memory
	values [16]string // most headers need no more
}

// replay answers from an entry, nil where it does not hold what the call wants.
func (e *entry) replay(c *call, age time.Duration, how string, standsIn bool) *http.Response {
	body, ok := e.in(c, standsIn)
	if !ok {
		return nil
	}
	r := &replayed{}
	h, values := make(http.Header, len(e.Header)+2), r.values[:0]
	set := func(name string, list ...string) {
		at := len(values)
		values = append(values, list...)
		h[name] = values[at:len(values):len(values)]
	}
	for name, list := range e.Header {
		set(name, list...)
	}
	if gives := c.form().given(e.Streamed); gives != e.Streamed {
		recastHeader(h, gives)
	}
	set("Age", strconv.FormatInt(int64(age/time.Second), 10))
	set("Cache-Status", how)
	r.body.Reset(body)
	r.resp = http.Response{
		Status: "200 OK", StatusCode: http.StatusOK, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: &r.body, ContentLength: int64(len(body)), Request: c.req,
	}
	return &r.resp
}

// entryFormat opens every stored entry: another version's is a miss.
const entryFormat = "breakwater 3\n"

// encode writes an entry for a Store: format, checksum, metadata as one line of
// JSON, the body's bytes. The checksum covers all behind it and the key, so that
// no other key's entry passes for this one's.
func (e *entry) encode(key string) []byte {
	meta, _ := json.Marshal(e) // times, strings and flags: cannot fail
	rest := append(append(meta, '\n'), e.body...)
	sum := checksum(key, rest)
	return append(append([]byte(entryFormat), sum[:]...), rest...)
}

func checksum(key string, rest []byte) (sum [sha256.Size]byte) {
	h := sha256.New()
	io.WriteString(h, key) // all keys are of one length
	h.Write(rest)
	h.Sum(sum[:0])
	return sum
}

var errCorrupt = outcome.Error("stored entry is not whole, or another's")

// maxSkew is how far another process's clock may be ahead of ours.
const maxSkew = time.Minute

// decodeEntry reads the key's entry from a Store. One from the near future, by
// a clock ahead of ours, is as good as new.
func decodeEntry(key string, stored []byte, now time.Time) (*entry, error) {
	rest, ok := bytes.CutPrefix(stored, []byte(entryFormat))
	if !ok || len(rest) < sha256.Size {
		return nil, errCorrupt
	}
	sum, rest := rest[:sha256.Size], rest[sha256.Size:]
	if got := checksum(key, rest); !bytes.Equal(got[:], sum) {
		return nil, errCorrupt
	}
	meta, body, ok := bytes.Cut(rest, []byte("\n"))
	e := &entry{body: bytes.Clone(body)}
	if !ok || json.Unmarshal(meta, e) != nil || e.Header == nil {
		return nil, errCorrupt
	}
	if e.Stored.After(now) {
		if e.Stored.Sub(now) > maxSkew {
			return nil, errCorrupt
		}
		e.Stored = now
	}
	return e, nil
}
