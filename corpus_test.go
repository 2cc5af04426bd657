package breakwater

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// The corpus: each file in testdata/answers is an answer with status 200 as a host sends it,
// and its name says what is right. See testdata/answers/README.md.
func TestCorpus(t *testing.T) {
	root, count := filepath.Join("testdata", "answers"), 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(path) == ".md" {
			return err
		}
		count++
		c := readCase(t, path)
		name, _ := filepath.Rel(root, path)
		bubble(t, name+"/alone", func(t *testing.T) { c.alone(t) })
		bubble(t, name+"/backed", func(t *testing.T) { c.backed(t) })
		return nil
	})
	if err != nil || count == 0 {
		t.Fatalf("%d cases, %v", count, err)
	}
}

// What nobody knows is passed on byte for byte: members, events, fields of events and headers.
func TestCorpus_TheUnknownPassesUnchanged(t *testing.T) {
	paths, _ := filepath.Glob(filepath.Join("testdata", "answers", "*", "*.good"))
	tried := 0
	for _, path := range paths {
		c := readCase(t, path)
		if c.as != "" { // it is converted
			continue
		}
		for _, body := range withUnknown(c.body) {
			tried++
			odd := c
			odd.body = body
			rt := over(t, newHosts(func(req *http.Request) (*http.Response, error) {
				resp, err := odd.gives(false)(req)
				resp.Header["X-New"] = []string{"a", "b"}
				return resp, err
			}), once)
			if got := odd.asks(t, rt); got.body != body || got.err != nil || got.header("X-New") != "a, b" {
				t.Errorf("%s: read %q, %v, want %q", path, got.body, got.err, body)
			}
		}
	}
	if tried < 500 {
		t.Errorf("%d answers were tried", tried)
	}
}

// withUnknown returns the answer with something new in each place.
func withUnknown(body string) []string {
	const object = `{"new_member":{"a":[1,"\u00e9",null],"b":"\\"},`
	if strings.HasPrefix(body, "{") {
		return []string{strings.Replace(body, "{", object, 1), strings.Replace(body, "{", "{ \n\"new_number\" : 1.50e+1 ,", 1)}
	}
	if strings.Count(body, "\n\n") < 2 { // events are parted in another way
		return nil
	}
	var all []string
	events := strings.SplitAfter(body, "\n\n")
	for i := range events {
		before, after := strings.Join(events[:i], ""), strings.Join(events[i:], "")
		all = append(all, before+"event: new.event\nid: 7\ndata: {\"type\":\"new.event\",\"x\":1}\n\n"+after)
		if i > 0 && strings.HasPrefix(after, "data: {\"") { // the first line tells what the body is
			all = append(all, before+"new-field: 1\n"+strings.Replace(after, "{", object, 1))
		}
	}
	return all
}

// One Transport meets all cases at once, again and again: never does a caller get a clean answer
// that is not the host's good one or the backup's.
func TestCorpus_Soak(t *testing.T) {
	byQuestion := map[string][]corpusCase{}
	paths, _ := filepath.Glob(filepath.Join("testdata", "answers", "*", "*.*"))
	for _, path := range paths {
		c := readCase(t, path)
		byQuestion[c.path+c.ask] = append(byQuestion[c.path+c.ask], c)
	}
	questions := slices.Sorted(maps.Keys(byQuestion))
	if len(questions) < 9 {
		t.Fatalf("%d questions", len(questions))
	}
	const workers = 8
	calls := ifFull(100_000, 4_000)
	synctest.Test(t, func(t *testing.T) {
		var good, clean, broken atomic.Int64
		base := newHosts(nil)
		base.Set("a", func(req *http.Request) (*http.Response, error) {
			return req.Context().Value(caseKey{}).(*corpusCase).gives(false)(req)
		})
		base.Set("b", func(req *http.Request) (*http.Response, error) {
			return req.Context().Value(caseKey{}).(*corpusCase).backup().gives(false)(req)
		})
		hosts := at("a", "b")
		hosts[1].Models = map[string]string{"m": "m"}
		rt := over(t, base, WithEndpoints(hosts[0]), WithBackup(hosts[1]), WithStream(StreamPolicy{Rescue: RescueOff}), noBreaker)
		var all sync.WaitGroup
		for w := range workers {
			random := rand.New(rand.NewPCG(uint64(w), 1))
			all.Go(func() {
				for range calls / workers {
					elapse(time.Second)
					list := byQuestion[questions[random.IntN(len(questions))]]
					c := list[random.IntN(len(list))]
					ctx := context.WithValue(t.Context(), caseKey{}, &c)
					got := c.asksIn(ctx, rt)
					switch isClean := got.status() == 200 && got.err == nil; {
					case !isClean && c.want == "good":
						t.Errorf("%s of a good answer: %v, %+v", c.path, got, TrailOf(got.resp))
					case !isClean:
						broken.Add(1)
					case got.body == c.backup().body:
						clean.Add(1)
					case c.want == "good" && (c.as == "" && got.body == c.body || c.as != "" && textOf(got.body) == c.text):
						good.Add(1)
					default:
						t.Errorf("%s, want %s: %q came for %q", c.path, c.want, got.body, c.body)
					}
				}
			})
		}
		all.Wait()
		t.Logf("%d calls: %d of the host's good answers, %d of the backup's, %d ended in an error", calls, good.Load(), clean.Load(), broken.Load())
		if held := stillHeld(rt); held != "" || good.Load() == 0 || clean.Load() == 0 || broken.Load() == 0 {
			t.Errorf("%s are still held; %d, %d, %d", held, good.Load(), clean.Load(), broken.Load())
		}
	})
}

type caseKey struct{}

// A corpusCase is one file of the corpus.
type corpusCase struct {
	path   string // of the API, as "/chat/completions"
	ask    string // the request's body
	header string // Content-Type; empty: there is none
	body   string
	reset  bool   // the connection breaks behind the body
	want   string // the file's extension
	text   string // what the answer says, if it reaches the caller in another form
	as     string // that form: json or stream
}

var corpusAPIs = map[string]struct{ path, ask string }{
	"chat":       {"/chat/completions", `{"model":"m","messages":[{"role":"user","content":"q"}]}`},
	"fim":        {"/completions", `{"model":"m","prompt":"q"}`},
	"responses":  {"/responses", `{"model":"m","input":"q"}`},
	"messages":   {"/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"q"}]}`},
	"embeddings": {"/embeddings", `{"model":"m","input":"q"}`},
}

func readCase(t *testing.T, path string) corpusCase {
	t.Helper()
	file, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	api, form, _ := strings.Cut(filepath.Base(filepath.Dir(path)), "-")
	c := corpusCase{path: corpusAPIs[api].path, ask: corpusAPIs[api].ask, want: strings.TrimPrefix(filepath.Ext(path), ".")}
	if form == "stream" {
		c.ask = strings.TrimSuffix(c.ask, "}") + `,"stream":true}`
	}
	lines, body, ok := strings.Cut(string(file), "\n\n")
	if !ok || c.path == "" {
		t.Fatalf("%s is no case", path)
	}
	c.body = body
	for line := range strings.Lines(lines) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ": ")
		switch strings.TrimSuffix(name, ":") {
		case "type":
			c.header = value
		case "ends":
			c.reset = value == "reset"
		case "ask": // members that the request has besides
			more := gjson.Parse(value)
			more.ForEach(func(name, value gjson.Result) bool {
				c.ask = strings.Replace(c.ask, `,"`+name.Str+`":"q"`, "", 1)
				c.ask = strings.TrimSuffix(c.ask, "}") + "," + name.Raw + ":" + value.Raw + "}"
				return true
			})
		case "text":
			c.text = value
		case "as":
			c.as = value
		default:
			if !strings.HasPrefix(line, "#") {
				t.Fatalf("%s: what is %q?", path, line)
			}
		}
	}
	return c
}

// gives answers as the case says, byte by byte if slowly is set.
func (c *corpusCase) gives(slowly bool) handler {
	return func(*http.Request) (*http.Response, error) {
		var from io.Reader = strings.NewReader(c.body)
		if c.reset {
			from = fakehost.Cut(c.body, errors.New("connection reset by peer"))
		}
		if slowly {
			from = iotest.OneByteReader(from)
		}
		resp := answerFrom(200, c.header, from)
		if c.header == "" {
			resp.Header = make(http.Header)
		}
		return resp, nil
	}
}

// asks makes the case's call.
func (c *corpusCase) asks(t *testing.T, rt http.RoundTripper) seen { return c.asksIn(t.Context(), rt) }

func (c *corpusCase) asksIn(ctx context.Context, rt http.RoundTripper) seen {
	req, _ := post(ctx, "https://a", c.ask)
	req.URL.Path = c.path
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return seen{err: err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return seen{resp, string(text), err}
}

// alone plays the case at a host that nobody can replace.
func (c *corpusCase) alone(t *testing.T) {
	for _, slowly := range []bool{false, true} {
		base := newHosts(c.gives(slowly))
		rt := over(t, base, WithStream(StreamPolicy{Rescue: RescueOff}))
		got := c.asks(t, rt)
		c.check(t, got, rt)
		requests := base.Count("a")
		switch most := map[string]int{"good": 1, "broken": 1, "refused": 1, "refused-late": 1}[c.want]; {
		case most > 0 && requests != most:
			t.Errorf("%d requests, want %d", requests, most)
		case most == 0 && requests < 2:
			t.Errorf("%d requests, want it tried again", requests)
		}
		if held := stillHeld(rt); held != "" {
			t.Errorf("%s are still held", held)
		}
	}
}

// check looks at what the caller got, and at what it counts as.
func (c *corpusCase) check(t *testing.T, got seen, rt *Transport) {
	t.Helper()
	var class Class
	if attempts := TrailOf(got.resp); len(attempts) > 0 {
		class = attempts[len(attempts)-1].Class
	}
	fails := outcome.Of(class).Outcome == outcome.Failure
	clean := got.status() == 200 && got.err == nil
	switch c.want {
	case "good":
		if !clean || class != ClassOK {
			t.Fatalf("got %v, class %s, want a clean answer", got, class)
		}
		if c.as == "" {
			if got.body != c.body {
				t.Errorf("read %q, want what the host sent, %q", got.body, c.body)
			}
		} else if text, form := textOf(got.body), formOf(got.resp.Header); text != c.text || form != c.as {
			t.Errorf("read %q as %s from %q, want %q as %s", text, form, got.body, c.text, c.as)
		}
	case "broken":
		if got.status() != 200 || !outcome.Broke(got.err) || !fails {
			t.Errorf("got %v, class %s, want a stream that breaks off", got, class)
		}
	case "refused-late":
		if got.status() != 200 || got.err == nil || fails || class == ClassOK {
			t.Errorf("got %v, class %s, want a stream that ends in a refusal", got, class)
		}
	case "failed":
		if clean || !fails {
			t.Errorf("got %v, class %s, want a failure of the host", got, class)
		}
	case "refused":
		if clean || fails || outcome.Of(class).Fault != outcome.FaultRequest && outcome.Of(class).Fault != outcome.FaultContent && class != ClassUnsuited {
			t.Errorf("got %v, class %s, want a refusal", got, class)
		}
		if !strings.Contains(c.ask, `"stream":true`) && (got.err != nil || got.status() < 400 || formOf(got.resp.Header) != "json") {
			t.Errorf("got %v as %s, want the host's words as JSON, because JSON was asked for", got, formOf(got.resp.Header))
		}
	case "throttled":
		if clean || class != ClassRateLimited {
			t.Errorf("got %v, class %s, want %s", got, class, ClassRateLimited)
		}
	default:
		t.Fatalf("what is %q?", c.want)
	}
}

// backed plays the case where a backup answers well.
func (c *corpusCase) backed(t *testing.T) {
	base := newHosts(c.gives(false))
	good := c.backup()
	base.Set("b", good.gives(false))
	hosts := at("a", "b")
	hosts[1].Models = map[string]string{"m": "m"} // else it gets no embeddings
	rt := over(t, base, WithEndpoints(hosts[0]), WithBackup(hosts[1]), WithStream(StreamPolicy{Rescue: RescueOff}))
	got := c.asks(t, rt)
	clean := got.status() == 200 && got.err == nil
	a, b := base.Count("a"), base.Count("b")
	switch c.want {
	case "good":
		if !clean || a != 1 || b != 0 {
			t.Errorf("got %v with %d and %d requests, want the answer of the first", got, a, b)
		}
	case "broken", "refused-late":
		if clean || a != 1 || b != 0 {
			t.Errorf("got %v with %d and %d requests, want a stream that breaks off", got, a, b)
		}
	case "failed", "throttled":
		if !clean || got.body != good.body || b != 1 {
			t.Errorf("got %v with %d and %d requests, want the backup's answer", got, a, b)
		}
	case "refused":
		if a != 1 || b > 1 || clean && got.body != good.body {
			t.Errorf("got %v with %d and %d requests, want a refusal or the backup's answer", got, a, b)
		}
	}
}

// backup is what a backup answers.
func (c *corpusCase) backup() *corpusCase {
	good := &corpusCase{body: goodAnswerTo(c.path, strings.Contains(c.ask, `"stream":true`)), header: asStream}
	if strings.HasPrefix(good.body, "{") {
		good.header = asJSON
	}
	return good
}

// goodAnswerTo is a good answer to the kind of request.
func goodAnswerTo(path string, stream bool) string {
	switch {
	case path == "/embeddings":
		return `{"object":"list","data":[{"object":"embedding","index":0,"embedding":[0.5]},{"object":"embedding","index":1,"embedding":[0.5]},{"object":"embedding","index":2,"embedding":[0.5]}]}`
	case path == "/v1/messages" && stream:
		return "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"content\":[]}}\n\n" +
			"data: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"backup\"}}\n\n" +
			"data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\ndata: {\"type\":\"message_stop\"}\n\n"
	case path == "/v1/messages":
		return `{"type":"message","content":[{"type":"text","text":"backup"}],"stop_reason":"end_turn"}`
	case path == "/responses" && stream:
		return "data: {\"type\":\"response.output_text.delta\",\"delta\":\"backup\"}\n\n" +
			"data: {\"type\":\"response.completed\",\"response\":{\"status\":\"completed\",\"output\":[{}]}}\n\n"
	case path == "/responses":
		return `{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"backup"}]}]}`
	case path == "/completions" && stream:
		return "data: {\"choices\":[{\"index\":0,\"text\":\"backup\",\"finish_reason\":\"stop\"}]}\n\n" + doneEvent
	case path == "/completions":
		return `{"choices":[{"index":0,"text":"backup","finish_reason":"stop"}]}`
	case stream:
		return event("backup") + endEvent + doneEvent
	}
	return `{"choices":[{"index":0,"message":{"role":"assistant","content":"backup"},"finish_reason":"stop"}]}`
}

// formOf is the form that a response says it has.
func formOf(h http.Header) string {
	switch h.Get("Content-Type") {
	case asJSON:
		return "json"
	case asStream:
		return "stream"
	}
	return h.Get("Content-Type")
}

// textOf is the text of an answer to one choice, of any API and in either form.
func textOf(body string) string {
	if strings.HasPrefix(body, "{") {
		return textIn(body)
	}
	var text strings.Builder
	for line := range strings.Lines(body) {
		if data, ok := strings.CutPrefix(strings.TrimSpace(line), "data:"); ok {
			text.WriteString(textIn(data))
		}
	}
	return text.String()
}

func textIn(data string) string {
	switch kind := gjson.Get(data, "type").Str; {
	case kind == "response.output_text.delta":
		return gjson.Get(data, "delta").Str
	case strings.HasPrefix(kind, "response."):
		return ""
	}
	for _, path := range []string{"choices.0.delta.content", "choices.0.message.content", "choices.0.text", "delta.text", "content.0.text", "output.0.content.0.text"} {
		if text := gjson.Get(data, path).Str; text != "" {
			return text
		}
	}
	return ""
}
