package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// Where a prompt may go: Call.Endpoints.

// premises are two servers of one's own, and two clouds behind them.
func premises() []Option {
	list := at("rack", "tower", "cloud", "far")
	list[0].Tags, list[0].Region = []string{"own", "gpu"}, "eu"
	list[1].Tags, list[1].Region = []string{"own"}, "eu"
	list[2].Region = "eu"
	return []Option{WithEndpoints(list[0], list[1]), WithBackup(list[2]), WithBackup(list[3])}
}

// only restricts the calls of a context to endpoints.
func only(ctx context.Context, words ...string) context.Context {
	return WithCall(ctx, Call{Endpoints: words})
}

// asksOf is asks, of another host.
func asksOf(ctx context.Context, rt http.RoundTripper, host, body string, edit ...func(*http.Request)) seen {
	return asks(ctx, rt, body, append(edit, func(req *http.Request) { req.URL.Host = host })...)
}

// asked returns which hosts of premises were sent something.
func asked(base *fakehost.Base) string {
	var names []string
	for _, name := range []string{"rack", "tower", "cloud", "far", "stranger"} {
		if base.Count(name) > 0 {
			names = append(names, name)
		}
	}
	return strings.Join(names, " ")
}

// whereForms are the forms in which a prompt may be sent.
var whereForms = map[string]struct{ path, body, good, contentType string }{
	"chat":             {"/chat/completions", chatJSON, goodJSON, asJSON},
	"chat stream":      {"/chat/completions", chatStream, wholeStream, asStream},
	"FIM":              {"/completions", `{"model":"m","prompt":"p"}`, `{"choices":[{"index":0,"text":"hi","finish_reason":"stop"}]}`, asJSON},
	"responses":        {"/responses", `{"model":"m","input":"p"}`, `{"status":"completed","output":[{"type":"message","content":[{"type":"output_text","text":"hi"}]}]}`, asJSON},
	"messages":         {"/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"p"}]}`, `{"type":"message","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn"}`, asJSON},
	"embeddings":       {"/embeddings", `{"model":"m","input":"p"}`, `{"data":[{"index":0,"embedding":[0.1]}]}`, asJSON},
	"an encoded chat":  {"/chat/completions", chatJSON, goodJSON, asJSON},
	"a chat too large": {"/chat/completions", `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("x", 2000) + `"}]}`, goodJSON, asJSON},
}

// A call goes to endpoints that have one of its words, as name, tag or region, whatever its
// URL says and whoever fails, and to no other.
func TestWhere_Words(t *testing.T) {
	for _, tt := range []struct {
		words []string
		want  string
	}{
		{nil, "rack tower cloud far"},
		{[]string{"own"}, "rack tower"},
		{[]string{"gpu"}, "rack"},
		{[]string{"eu"}, "rack tower cloud"},
		{[]string{"tower"}, "tower"},
		{[]string{"far", "gpu"}, "rack far"},
		{[]string{"own", "own", "rack"}, "rack tower"},
	} {
		for form, f := range whereForms {
			for _, host := range []string{"rack", "far"} {
				bubble(t, fmt.Sprint(tt.words, "/", form, "/", host), func(t *testing.T) {
					base := newHosts(failing503)
					list := []string{"rack", "tower", "cloud", "far"}
					opts := append(premises(), WithRetry(RetryPolicy{MaxReplay: 1000, Patience: Off}))
					if form == "embeddings" { // they go elsewhere for mapped models only
						opts = append(opts, func(c *config) error {
							for _, tier := range c.tiers {
								for i := range tier {
									tier[i].Models = map[string]string{"m": "m"}
								}
							}
							return nil
						})
					}
					rt := over(t, base, opts...)
					edit := []func(*http.Request){toPath(f.path)}
					want := tt.want
					if form == "an encoded chat" || form == "a chat too large" { // only the endpoint that the URL means gets these
						if !strings.Contains(want, host) {
							want = ""
						} else {
							want = host
						}
					}
					if form == "an encoded chat" {
						edit = append(edit, with("Content-Encoding", "zstd"))
					}
					ctx := t.Context()
					if tt.words != nil {
						ctx = only(ctx, tt.words...)
					}
					if got := asksOf(ctx, rt, host, f.body, edit...); got.status() != 503 || asked(base) != want {
						t.Errorf("asked %q, want %q: %v", asked(base), want, got)
					}
					for _, name := range list {
						base.Set(name, gives(200, f.contentType, f.good))
					}
					elapse(time.Hour)
					if want == "" {
						return
					}
					if got := asksOf(ctx, rt, host, f.body, edit...); got.status() != 200 || got.body != f.good || asked(base) != want || !strings.Contains(want, got.header(headerEndpoint)) {
						t.Errorf("asked %q, want %q: %v", asked(base), want, got)
					}
				})
			}
		}
	}
}

// Where no endpoint is left, nothing is sent, and the error says what is wrong.
func TestWhere_Nowhere(t *testing.T) {
	many := make([]Endpoint, 30)
	for i := range many {
		many[i] = at(fmt.Sprintf("host-%02d", i))[0]
		many[i].Tags = []string{fmt.Sprintf("tag-%02d", i)}
	}
	own := []string{"own"}
	for _, tt := range []struct {
		name  string
		opts  []Option
		calls []Call // the outermost first
		want  string
	}{
		{"a word of nobody", premises(), []Call{{Endpoints: []string{"on-prem"}}}, `no endpoint has the name, tag or region "on-prem" of Call.Endpoints: there is "cloud", "eu", "far", "gpu", "own", "rack", "tower"`},
		{"a word of nobody beside a good one", premises(), []Call{{Endpoints: []string{"own", "on-prem"}}}, `region "on-prem" of`},
		{"another case", premises(), []Call{{Endpoints: []string{"Own"}}}, `region "Own" of`},
		{"a blank", premises(), []Call{{Endpoints: []string{"own "}}}, `region "own " of`},
		{"an empty word", premises(), []Call{{Endpoints: []string{""}}}, `region "" of`},
		{"several words in one", premises(), []Call{{Endpoints: []string{"rack,tower"}}}, `region "rack,tower" of`},
		{"a long word", premises(), []Call{{Endpoints: []string{strings.Repeat("x", 5000)}}}, `region "` + strings.Repeat("x", 64) + `…" of`},
		{"control characters", premises(), []Call{{Endpoints: []string{"x\ny"}}}, `region "x\ny" of`},
		{"a word of nobody, of many", []Option{WithEndpoints(at("rack")...), WithBackup(many...)}, []Call{{Endpoints: []string{"x"}}}, `"host-11" and 49 more`},
		{"an empty list", premises(), []Call{{Endpoints: []string{}}}, "Call.Endpoints is an empty list, which allows no endpoint"},
		{"an empty list, one endpoint", []Option{WithEndpoints(at("rack")...)}, []Call{{Endpoints: []string{}}}, "Call.Endpoints is an empty list"},
		{"an empty list within", premises(), []Call{{Endpoints: own}, {Endpoints: []string{}}}, "Call.Endpoints is an empty list"},
		{"an empty list around", premises(), []Call{{Endpoints: []string{}}, {Endpoints: own}}, "Call.Endpoints is an empty list"},
		{"nothing in common", premises(), []Call{{Endpoints: own}, {Endpoints: []string{"far"}}}, "none is in each of its lists, of outer and inner options"},
		{"an outer word of nobody", premises(), []Call{{Endpoints: []string{"x"}}, {Endpoints: own}}, `region "x" of`},
		{"an endpoint that they do not allow", premises(), []Call{{Endpoints: own}, {Endpoint: "cloud"}}, `Call.Endpoint is "cloud", and Call.Endpoints allows only "rack", "tower"`},
		{"an outer endpoint that they do not allow", premises(), []Call{{Endpoint: "cloud"}, {Endpoints: own}}, `Call.Endpoint is "cloud", and`},
		{"an endpoint of nobody", premises(), []Call{{Endpoints: own, Endpoint: "x"}}, `no endpoint has the name "x": there is "cloud", "far", "rack", "tower"`},
		{"a tag as the endpoint", premises(), []Call{{Endpoint: "own"}}, `no endpoint has the name "own": there is`},
		{"one endpoint, and another word", []Option{WithEndpoints(at("rack")...)}, []Call{{Endpoints: own}}, `region "own" of Call.Endpoints: there is "rack"`},
		{"no endpoints", nil, []Call{{Endpoints: []string{"rack"}}}, "Call.Endpoints is set, and New was given no endpoints"},
		{"no endpoints, and an empty list", nil, []Call{{Endpoints: []string{}}}, "Call.Endpoints is set, and New was given no endpoints"},
		{"no endpoints, and another one", nil, []Call{{Endpoint: "x"}}, `no endpoint has the name "x": there is "rack"`},
	} {
		for form, f := range whereForms {
			for more, opts := range map[string][]Option{"": nil, "cached": {WithCache(CachePolicy{})}, "errors": {WithErrors()}} {
				t.Run(tt.name+"/"+form+"/"+more, func(t *testing.T) {
					base := newHosts(gives(200, f.contentType, f.good))
					rt := over(t, base, slices.Concat(tt.opts, opts, []Option{WithRetry(RetryPolicy{MaxReplay: 1000})})...)
					ctx, trail := t.Context(), Trail{}
					for _, c := range tt.calls {
						c.Trail = &trail
						ctx = WithCall(ctx, c)
					}
					req, body := post(ctx, "https://rack", f.body)
					req.URL.Path = f.path
					if form == "an encoded chat" {
						req.Header.Set("Content-Encoding", "zstd")
					}
					resp, err := rt.RoundTrip(req)
					if more != "errors" && resp != nil {
						defer resp.Body.Close()
						text, _ := io.ReadAll(resp.Body)
						if resp.StatusCode != 503 || resp.Header.Get(headerError) != "unserved" || resp.Header.Get(headerRetry) != "false" || resp.Header.Get(headerOutcome) != "unserved" || len(text) > 2000 {
							t.Errorf("got %d, %v, %q, want our own 503, unserved", resp.StatusCode, resp.Header, text)
						}
						err = ErrorOf(resp)
					}
					var failure *Error
					if !errors.As(err, &failure) || failure.Class != ClassUnserved || !strings.Contains(failure.Error(), tt.want) || len(trail.Attempts()) != 0 {
						t.Errorf("got %v, trail %+v, want %s", err, trail.Attempts(), tt.want)
					}
					if body.Closed() != 1 || asked(base) != "" || stillHeld(rt) != "" {
						t.Errorf("the body was closed %d times, asked %q, held %s", body.Closed(), asked(base), stillHeld(rt))
					}
					if s := rt.Status(); s.Calls != 1 || s.Failed != 1 || s.Outcomes[Outcome(ClassUnserved)] != 1 {
						t.Errorf("counted %+v", s)
					}
				})
			}
		}
	}
}

// The lists of several options all hold, wherever they are merged, and the caller may change
// its slices.
func TestWhere_OptionsOnlyNarrow(t *testing.T) {
	given := []string{"eu"}
	outer := WithCall(context.Background(), Call{Endpoints: given})
	given[0] = "far"
	CallOf(outer).Endpoints[0] = "far"
	inner := only(outer, "own", "far")
	widened, cleared := CallOf(inner), CallOf(inner)
	widened.Endpoints = []string{"rack", "far"}
	cleared.Endpoints = nil
	again := inner
	for range 50 {
		again = WithCall(again, CallOf(again))
	}
	if n := len(callOptions(again).bounds); n != 2 {
		t.Errorf("the same options again and again have %d lists", n)
	}
	for name, tt := range map[string]struct {
		ctx  context.Context
		want string
	}{
		"outer":                       {outer, "rack tower cloud"},
		"inner":                       {inner, "rack tower"},
		"the same again":              {again, "rack tower"},
		"other options":               {WithCall(inner, Call{NoCache: true}), "rack tower"},
		"in another context":          {WithCall(context.Background(), CallOf(inner)), "rack tower"},
		"in another one, twice":       {only(WithCall(context.Background(), CallOf(inner)), "gpu"), "rack"},
		"in another context, widened": {WithCall(context.Background(), widened), "rack"},
		"in another context, cleared": {WithCall(context.Background(), cleared), "rack tower"},
		"an endpoint within":          {WithCall(inner, Call{Endpoint: "tower"}), "tower"},
		"an endpoint around":          {only(WithCall(context.Background(), Call{Endpoint: "rack"}), "own"), "rack"},
		"an endpoint in place of one": {WithCall(WithCall(inner, Call{Endpoint: "rack"}), Call{Endpoint: "tower"}), "tower"},
	} {
		bubble(t, name, func(t *testing.T) {
			base := newHosts(failing503)
			if got := asksOf(tt.ctx, over(t, base, append(premises(), once)...), "rack", chatJSON); asked(base) != tt.want {
				t.Errorf("asked %q, want %q: %v", asked(base), tt.want, got)
			}
		})
	}
	if got := CallOf(inner).Endpoints; !reflect.DeepEqual(got, []string{"own", "far"}) {
		t.Errorf("the options are %q", got)
	}
	if got := CallOf(WithCall(outer, Call{})).Endpoints; !reflect.DeepEqual(got, []string{"eu"}) {
		t.Errorf("the options that leave Endpoints out are %q", got)
	}
}

// others are requests that are no inference.
var others = map[string]struct{ method, path, body string }{
	"models":            {"GET", "/models", ""},
	"a HEAD":            {"HEAD", "/models", ""},
	"the balance":       {"GET", "/user/balance", ""},
	"a stored response": {"GET", "/responses/r-1", ""},
	"a file":            {"POST", "/files", "a prompt"},
	"a fine-tune":       {"POST", "/fine_tuning/jobs", `{"training_file":"f-1"}`},
	"a deletion":        {"DELETE", "/files/f-1", ""},
	"a misspelt chat":   {"POST", "/v1/chat/completion", chatJSON},
}

// A request that is no inference goes where it is meant for, or nowhere: its body may hold
// prompts, and nobody else has its answer. Nor does anything go to a stranger.
func TestWhere_OtherRequests(t *testing.T) {
	for _, tt := range []struct {
		host  string
		call  Call
		alone bool   // New has no endpoints
		want  string // of the error; empty: it is sent
	}{
		{"rack", Call{Endpoints: []string{"own"}}, false, ""},
		{"cloud", Call{Endpoints: []string{"own", "cloud"}}, false, ""},
		{"cloud", Call{Endpoint: "rack"}, false, ""}, // it is for inference
		{"rack", Call{Endpoint: "cloud", Endpoints: []string{"own"}}, false, ""},
		{"stranger", Call{}, false, ""},
		{"cloud", Call{Endpoints: []string{"own"}}, false, `the request goes to endpoint "cloud", and Call.Endpoints allows only "rack", "tower"`},
		{"stranger", Call{Endpoints: []string{"own"}}, false, `the request goes to no endpoint, and Call.Endpoints allows only "rack", "tower"`},
		{"stranger", Call{Endpoints: []string{"own", "eu", "far"}}, false, `allows only "cloud", "far", "rack", "tower"`},
		{"rack", Call{Endpoints: []string{"own", "x"}}, false, `no endpoint has the name, tag or region "x" of Call.Endpoints`},
		{"rack", Call{Endpoints: []string{}}, false, "Call.Endpoints is an empty list"},
		{"rack", Call{Endpoints: []string{"rack"}}, true, "Call.Endpoints is set, and New was given no endpoints"},
		{"stranger", Call{Endpoints: []string{"stranger"}}, true, "New was given no endpoints"},
	} {
		for name, r := range others {
			bubble(t, fmt.Sprint(tt.host, "/", tt.call.Endpoints, "/", tt.call.Endpoint, "/", tt.alone, "/", name), func(t *testing.T) {
				base := newHosts(gives(200, asJSON, list))
				opts := premises()
				if tt.alone {
					opts = nil
				}
				passed := 0
				rt := over(t, base, append(opts, WithObserver(func(_ context.Context, e Event) {
					if e.Kind == KindPassed {
						passed++
					}
				}))...)
				if tt.alone { // so that the host is known
					asksOf(t.Context(), rt, tt.host, chatJSON)
				}
				before := base.Count("")
				body := &fakehost.Body{Reader: strings.NewReader(r.body)}
				req, _ := http.NewRequestWithContext(WithCall(t.Context(), tt.call), r.method, "https://"+tt.host+r.path, body)
				resp, err := rt.RoundTrip(req)
				if tt.want == "" {
					if err != nil || resp.StatusCode != 200 || base.Count(tt.host) != 1 || base.Count("") != 1 {
						t.Fatalf("got %v, %v, asked %q", resp, err, asked(base))
					}
					resp.Body.Close()
					return
				}
				var failure *Error
				if resp != nil || !errors.As(err, &failure) || failure.Class != ClassUnserved || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v, %v, want an *Error with %s", resp, err, tt.want)
				}
				if base.Count("") != before || body.Closed() != 1 || passed > 0 || rt.Status().Passed != 0 || stillHeld(rt) != "" {
					t.Errorf("sent %d, closed the body %d times, passed %d on, held %s", base.Count("")-before, body.Closed(), passed, stillHeld(rt))
				}
			})
		}
	}
}

// http.Client follows redirects with the context of the call. Those of a host within the
// bounds lead nowhere else.
func TestWhere_Redirects(t *testing.T) {
	for _, tt := range []struct {
		to, path string
		want     string // the hosts that are asked
		fails    bool
	}{
		{"https://stranger/chat/completions", "/chat/completions", "rack", true},
		{"https://stranger/x", "/models", "rack", true},
		{"https://cloud/models", "/models", "rack", true},
		{"https://cloud/files", "/files", "rack", true},
		{"https://tower/models", "/models", "rack tower", false},
		{"https://cloud/chat/completions", "/files", "rack tower", false}, // inference goes to an endpoint that it may go to
	} {
		bubble(t, tt.path+" to "+tt.to, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			base.Set("rack", gives(307, "text/plain", "", "Location", tt.to))
			own := premises()[:1]
			if strings.HasPrefix(tt.path, "/chat") { // nobody else could answer
				own = []Option{WithEndpoints(at("rack")...)}
			}
			rt := over(t, base, append(own, WithBackup(at("cloud")...))...)
			words := []string{"own"}
			if strings.HasPrefix(tt.path, "/chat") {
				words[0] = "rack"
			}
			req, _ := post(only(t.Context(), words...), "https://rack", chatJSON)
			req.URL.Path = tt.path
			req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(chatJSON)), nil }
			if tt.path == "/models" {
				req.Method, req.Body, req.GetBody, req.ContentLength = http.MethodGet, nil, nil, 0
			}
			resp, err := (&http.Client{Transport: rt}).Do(req)
			if err == nil {
				resp.Body.Close()
			}
			var failure *Error
			if errors.As(err, &failure) != tt.fails || asked(base) != tt.want {
				t.Errorf("got %v, %v, asked %q, want %q", resp, err, asked(base), tt.want)
			}
		})
	}
}
