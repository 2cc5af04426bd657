package breakwatertest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"

	"github.com/breakwater-go/breakwater/internal/key"
	"github.com/breakwater-go/breakwater/internal/recording"
	"github.com/breakwater-go/breakwater/internal/request"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// A NoRecordError is the error of a request that no record answers. It quotes no prompt, key
// or answer.
type NoRecordError struct {
	Method, Path string
	// Records is how many records there are.
	Records int
	// Used reports that records of this request exist, and each was played once: see
	// ReplayOptions.Once.
	Used bool
	// Nearest is the name of the record that differs least; empty: there is none for the
	// method and operation.
	Nearest string
	// Differs names what differs from it: "host", "path", "query", "stream", a header, or a
	// field of the body such as messages[1].content. At most eight.
	Differs []string
}

// Error returns a text with all fields.
func (e *NoRecordError) Error() string {
	text := fmt.Sprintf("breakwatertest: no record of %d answers %s %s", e.Records, e.Method, e.Path)
	switch {
	case e.Used:
		return text + ": its records were all played"
	case e.Nearest == "":
		return text
	}
	return fmt.Sprintf("%s: the nearest is %s, which differs in %s", text, e.Nearest, strings.Join(e.Differs, ", "))
}

// A matchable is what requests and records are compared by: for an inference, what breakwater's
// cache compares.
type matchable struct {
	method, path string
	op           request.Operation
	host, query  string
	headers      http.Header // those that ReplayOptions names
	stream       bool
	body         []byte
	anyBody      bool // the record does not have it
}

func (o *ReplayOptions) matchableOf(method string, u *url.URL, h http.Header, body []byte) *matchable {
	m := &matchable{method: method, path: u.Path, query: u.RawQuery, body: body, headers: make(http.Header)}
	if !o.AnyHost {
		m.host = u.Scheme + "://" + u.Host
	}
	if op, ok := request.OperationOf(&http.Request{Method: method, URL: u}); ok {
		m.op, m.stream = op, request.Parse(body).Stream
		if o.AnyHost {
			m.path = string(op) // base paths differ from host to host
		}
	}
	for _, name := range o.Headers {
		name = http.CanonicalHeaderKey(name)
		if values := h[name]; len(values) > 0 {
			m.headers[name] = values
		}
	}
	return m
}

// place returns where the request goes, without its body.
func (m *matchable) place() string {
	return string(key.Append(key.Append(key.Append(nil, m.method), m.host), m.path))
}

// key returns what is equal for requests that mean the same. Two bodies mean the same if they
// differ in white space, in the order of members, and in stream_options.
func (m *matchable) key() key.Key {
	about := key.Append([]byte(m.place()), m.query)
	for _, name := range slices.Sorted(maps.Keys(m.headers)) {
		about = key.Append(key.Append(about, name), strings.Join(m.headers[name], "\n"))
	}
	form, text := key.Exact, m.body
	if m.op != request.None {
		about = key.Append(about, fmt.Sprint(m.stream))
		if canonical, ok := wire.Canonical(nil, m.body, "stream", "stream_options"); ok {
			form, text = key.Canonical, canonical
		}
	}
	if m.op == request.None {
		text = nil // another request is known by its method and path
	}
	k, _ := key.OfName("record").Key(form, about, text)
	return k
}

// maxDiffers bounds NoRecordError.Differs.
const maxDiffers = 8

// differences names what differs between two requests of one method.
func (m *matchable) differences(other *matchable) (names []string) {
	for _, part := range []struct {
		name string
		same bool
	}{
		{"host", m.host == other.host}, {"path", m.path == other.path}, {"query", m.query == other.query},
		{"stream", m.stream == other.stream},
	} {
		if !part.same {
			names = append(names, part.name)
		}
	}
	for _, h := range []http.Header{m.headers, other.headers} {
		for name := range h {
			if !slices.Equal(m.headers[name], other.headers[name]) && !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names[:])
	if m.op == request.None || m.anyBody || other.anyBody {
		return names
	}
	var a, b map[string]any
	if json.Unmarshal(m.body, &a) != nil || json.Unmarshal(other.body, &b) != nil {
		if !bytes.Equal(m.body, other.body) {
			names = append(names, "body")
		}
		return names
	}
	for _, one := range []map[string]any{a, b} {
		delete(one, "stream")
		delete(one, "stream_options")
	}
	names = differences(names, "", a, b)
	if len(names) == 0 {
		names = append(names, "body") // such as the spelling of a number
	}
	return names[:min(len(names), maxDiffers)]
}

// differences appends the paths of the fields that differ between two values of JSON.
func differences(names []string, path string, a, b any) []string {
	if len(names) >= maxDiffers || reflect.DeepEqual(a, b) {
		return names
	}
	if a, ok := a.(map[string]any); ok {
		if b, ok := b.(map[string]any); ok {
			all := maps.Clone(a)
			maps.Copy(all, b)
			for _, name := range slices.Sorted(maps.Keys(all)) {
				one, inA := a[name]
				other, inB := b[name]
				if at := strings.TrimPrefix(path+"."+fieldName(name), "."); inA != inB {
					names = append(names, at)
				} else {
					names = differences(names, at, one, other)
				}
			}
			return names
		}
	}
	if a, ok := a.([]any); ok {
		if b, ok := b.([]any); ok && len(a) == len(b) {
			for i := range a {
				names = differences(names, fmt.Sprintf("%s[%d]", path, i), a[i], b[i])
			}
			return names
		}
	}
	return append(names, path)
}

// fieldName returns a name of JSON, unless it may be a text of the user's.
func fieldName(name string) string {
	odd := strings.ContainsFunc(name, func(r rune) bool {
		return r != '_' && r != '-' && !('0' <= r && r <= '9') && !('a' <= r|0x20 && r|0x20 <= 'z')
	})
	if odd || name == "" || len(name) > 40 {
		return "…"
	}
	return name
}

// nearest returns the error of a request, with the record that differs least.
func (m *matchable) nearest(records []*record) *NoRecordError {
	e := &NoRecordError{Method: m.method, Path: m.path, Records: len(records)}
	for _, r := range records {
		if r.asks.method != m.method || r.asks.op != m.op {
			continue
		}
		names := m.differences(r.asks)
		if weight := weightOf(names); e.Nearest == "" || weight < weightOf(e.Differs) {
			e.Nearest, e.Differs = r.name, names
		}
	}
	return e
}

// weightOf orders lists of differences: another host or path weighs more than a field.
func weightOf(names []string) int {
	weight := 0
	for _, name := range names {
		weight += cmp.Or(map[string]int{"host": 4, "path": 4, "body": 4, "stream": 2}[name], 1)
	}
	return weight
}

// A record is one exchange that can be played.
type record struct {
	name   string
	number int // in the order of recording
	x      *recording.Exchange
	asks   *matchable
	used   int // how often it was played
}
