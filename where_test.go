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
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/test/fakehost"
	"github.com/breakwater-go/breakwater/internal/within"
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
				if r.body == "" {
					req.Body = nil
				}
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
				if base.Count("") != before || req.Body != nil && body.Closed() != 1 || passed > 0 || rt.Status().Passed != 0 || stillHeld(rt) != "" {
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

// ownAndCloud are a server of one's own and a cloud: the cloud as its backup, or beside it.
func ownAndCloud(beside bool) []Option {
	own, cloud := deepSeekAt("rack"), deepSeekAt("cloud")
	own.Tags = []string{"own"}
	if beside {
		return []Option{WithEndpoints(own, cloud)}
	}
	return []Option{WithEndpoints(own), WithBackup(cloud)}
}

// Whatever would take a call elsewhere takes a restricted one nowhere. Each way is played
// without the restriction, too: then the call does go to the cloud.
func TestWhere_NoFeatureLeads(t *testing.T) {
	ask := func(body string) func(*testing.T, context.Context, *Transport, *fakehost.Base) {
		return func(t *testing.T, ctx context.Context, rt *Transport, _ *fakehost.Base) {
			asksOf(ctx, rt, "rack", body)
		}
	}
	sick := func(do handler) func(*testing.T, context.Context, *Transport, *fakehost.Base) {
		return func(t *testing.T, ctx context.Context, rt *Transport, base *fakehost.Base) {
			base.Set("rack", do)
			asksOf(ctx, rt, "rack", chatStream)
		}
	}
	const flawed = `{"choices":[{"index":0,"message":{"role":"assistant","content":"","reasoning_content":"Hm."},"finish_reason":"stop"}]}`
	cut := handler(breaks(asStream, goodEvent))
	for _, tt := range []struct {
		name   string
		beside bool
		opts   []Option
		run    func(*testing.T, context.Context, *Transport, *fakehost.Base)
	}{
		{"balance", true, nil, func(t *testing.T, ctx context.Context, rt *Transport, _ *fakehost.Base) {
			for n := range 4 {
				asksOf(ctx, rt, "rack", question(n))
			}
		}},
		{"the URL", false, nil, func(t *testing.T, ctx context.Context, rt *Transport, base *fakehost.Base) {
			base.Set("rack", failing503)
			asksOf(ctx, rt, "cloud", chatJSON)
		}},
		{"failover", false, nil, sick(failing503)},
		{"failover, refused", true, nil, sick(refusing)},
		{"a limit of the host", false, []Option{WithRetry(RetryPolicy{Patience: Off})}, sick(gives(429, asJSON, "{}", "Retry-After", "5"))},
		{"a key that is rejected", false, nil, sick(gives(401, asJSON, "{}"))},
		{"no money", false, nil, sick(gives(402, asJSON, "{}"))},
		{"a model that the host lacks", false, nil, sick(gives(400, asJSON, `{"error":{"message":"Model Not Exist","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}`))},
		{"a redirect", false, nil, sick(gives(307, "text/plain", "", "Location", "https://cloud/chat/completions"))},
		{"the first token", false, []Option{WithStream(quick)}, func(t *testing.T, ctx context.Context, rt *Transport, base *fakehost.Base) {
			base.Set("rack", hanging)
			ctx, cancel := context.WithTimeout(ctx, time.Minute)
			defer cancel()
			asksOf(ctx, rt, "rack", chatStream)
		}},
		{"a flawed answer", false, []Option{WithStream(StreamPolicy{RequireAnswer: true, KeepFlawed: true})}, func(t *testing.T, ctx context.Context, rt *Transport, base *fakehost.Base) {
			base.Set("rack", gives(200, asJSON, flawed))
			asksOf(ctx, rt, "rack", chatJSON)
		}},
		{"a hedge", true, []Option{WithStream(StreamPolicy{Hedge: time.Second})}, sick(fakehost.After(time.Minute, gives(200, asStream, wholeStream)))},
		{"a hedge at a backup", false, []Option{WithStream(StreamPolicy{Hedge: time.Second, HedgeBackup: true})}, sick(fakehost.After(time.Minute, gives(200, asStream, wholeStream)))},
		{"a rescue that continues", false, nil, sick(cut)},
		{"a rescue that restarts", false, []Option{WithStream(StreamPolicy{Rescue: RescueRestart})}, sick(cut)},
		{"a limit of one's own", false, []Option{WithRateLimit(RatePolicy{PerSecond: 0.001, Burst: 1, MaxWait: time.Second, Spill: true})}, func(t *testing.T, ctx context.Context, rt *Transport, _ *fakehost.Base) {
			asksOf(ctx, rt, "rack", question(1))
			asksOf(ctx, rt, "rack", question(2))
		}},
		{"an open circuit", false, nil, func(t *testing.T, ctx context.Context, rt *Transport, base *fakehost.Base) {
			base.Set("rack", refusing)
			for n := range 12 {
				asksOf(only(t.Context(), "own"), rt, "rack", question(n))
			}
			base.Set("rack", gives(200, asJSON, goodJSON))
			asksOf(ctx, rt, "rack", chatJSON)
		}},
		{"a pause", false, nil, func(t *testing.T, ctx context.Context, rt *Transport, base *fakehost.Base) {
			base.Set("rack", gives(429, asJSON, "{}", "Retry-After", "30"))
			asksOf(WithCall(t.Context(), Call{Endpoints: []string{"own"}, Attempts: Off}), rt, "rack", question(0))
			base.Set("rack", gives(200, asJSON, goodJSON))
			asksOf(ctx, rt, "rack", chatJSON)
		}},
		{"a conversation that the cloud has in its cache", true, []Option{WithBalance(BalancePolicy{Affinity: 10})}, func(t *testing.T, ctx context.Context, rt *Transport, base *fakehost.Base) {
			base.Set("rack", failing503)
			asksOf(t.Context(), rt, "rack", `{"model":"m","messages":[{"role":"user","content":"hello"}]}`)
			base.Set("rack", gives(200, asJSON, goodJSON))
			elapse(time.Hour)
			before := base.Count("cloud")
			asksOf(ctx, rt, "rack", `{"model":"m","messages":[{"role":"user","content":"hello"},{"role":"assistant","content":"hi"},{"role":"user","content":"and?"}]}`)
			if free := len(CallOf(ctx).Endpoints) == 0; !free && base.Count("cloud") > before {
				t.Error("the second call went to the cloud")
			}
		}},
		{"an upload", false, []Option{WithRetry(RetryPolicy{MaxReplay: 10})}, func(t *testing.T, ctx context.Context, rt *Transport, _ *fakehost.Base) {
			asksOf(ctx, rt, "cloud", chatJSON)
		}},
		{"what the host cannot do", false, nil, ask(`{"model":"m","messages":[],"safety_check":{"level":"high"}}`)},
		{"a renewal", false, []Option{noBreaker, WithCache(CachePolicy{TTL: time.Second, StaleWhileRevalidate: time.Hour})}, func(t *testing.T, ctx context.Context, rt *Transport, base *fakehost.Base) {
			asksOf(ctx, rt, "rack", chatJSON)
			elapse(time.Minute)
			base.Set("rack", failing503)
			asksOf(ctx, rt, "rack", chatJSON)
			elapse(time.Minute)
		}},
		{"a renewal that finds out who is up", false, []Option{WithCache(CachePolicy{TTL: time.Second, StaleIfError: 24 * time.Hour})}, func(t *testing.T, ctx context.Context, rt *Transport, base *fakehost.Base) {
			asksOf(ctx, rt, "rack", chatJSON)
			base.Set("rack", refusing)
			base.Set("cloud", refusing)
			for range 12 {
				elapse(time.Minute)
				asksOf(ctx, rt, "rack", chatJSON)
			}
		}},
	} {
		for free, ctx := range map[bool]context.Context{true: context.Background(), false: only(context.Background(), "own")} {
			bubble(t, fmt.Sprint(tt.name, "/free=", free), func(t *testing.T) {
				base := newHosts(func(req *http.Request) (*http.Response, error) {
					if a := attemptOf(req.Context()); a.call.params.Stream {
						return answer(200, asStream, wholeStream), nil
					}
					return answer(200, asJSON, goodJSON), nil
				})
				rt := over(t, base, append(ownAndCloud(tt.beside), tt.opts...)...)
				if tt.name == "what the host cannot do" {
					rt.now().tiers[0][0].can = 0
				}
				tt.run(t, ctx, rt, base)
				rt.Close()
				synctest.Wait()
				if n := base.Count("cloud"); tt.name != "a conversation that the cloud has in its cache" && (n > 0) != free {
					t.Errorf("the cloud was asked %d times", n)
				}
				if left := stillHeld(rt); left != "" {
					t.Errorf("%s is held", left)
				}
			})
		}
	}
}

// keysOf are two endpoints in the order given, "own" being a tag of rack's.
func keysOf(store Store, url string, names ...string) []Option {
	var opts []Option
	for i, name := range names {
		e := Endpoint{Name: name, URL: "https://" + name, APIKey: "sk-" + name}
		if name == "rack" {
			e.Tags, e.URL = []string{"own"}, url
		}
		if i == 0 {
			opts = append(opts, WithEndpoints(e))
		} else {
			opts = append(opts, WithBackup(e))
		}
	}
	return append(opts, WithCache(CachePolicy{TTL: time.Hour, Store: store}))
}

// Calls that may go to the same endpoints share attempts and answers, in whatever words they
// say so. Others do not: an attempt of theirs, or its renewal, may go elsewhere, and an answer
// may have come from there.
func TestWhere_Sharing(t *testing.T) {
	options := func(list ...[]string) context.Context {
		ctx := context.Background()
		for _, words := range list {
			ctx = only(ctx, words...)
		}
		return ctx
	}
	free, own := context.Background(), []string{"own"}
	for name, tt := range map[string]struct {
		first, second context.Context
		share         bool
	}{
		"the same":                      {options(own), options(own), true},
		"none":                          {free, free, true},
		"other words for the same":      {options(own), options([]string{"rack", "own"}), true},
		"the same by two lists":         {options(own), options([]string{"own", "cloud"}, []string{"rack"}), true},
		"the same by a name and a list": {options(own), WithCall(options(own), Call{Attempts: 0, NoShare: false}), true},
		"all of them in another order":  {options([]string{"cloud", "rack"}), options([]string{"own", "cloud"}), true},
		"a restricted one behind":       {free, options(own), false},
		"a restricted one before":       {options(own), free, false},
		"all and no restriction":        {free, options([]string{"own", "cloud"}), false}, // the user may add an endpoint
		"more":                          {options(own), options([]string{"own", "cloud"}), false},
		"others":                        {options(own), options([]string{"cloud"}), false},
		"one of them by its name":       {options(own), WithCall(free, Call{Endpoint: "rack"}), false},
	} {
		for _, when := range []string{"under way", "kept", "in a store", "in a store, endpoints in another order", "renewed", "by an idempotency key", "by an idempotency key, kept"} {
			for _, body := range []string{chatJSON, chatStream} {
				bubble(t, fmt.Sprint(name, "/", when, "/", body == chatStream), func(t *testing.T) {
					good := map[string]handler{chatJSON: gives(200, asJSON, goodJSON), chatStream: gives(200, asStream, wholeStream)}[body]
					base := newHosts(fakehost.After(10*time.Second, good))
					store := &memoryStore{}
					first := over(t, base, keysOf(store, "https://rack", "cloud", "rack")...)
					second := first
					want := 2
					if tt.share {
						want = 1
					}
					var edit []func(*http.Request)
					if strings.HasPrefix(when, "by an idempotency key") {
						edit = append(edit, with("Idempotency-Key", "the same"))
						first = over(t, base, append(keysOf(store, "https://rack", "cloud", "rack")[:2], WithIdempotency(IdempotencyPolicy{}))...)
						second = first
					}
					var done sync.WaitGroup
					done.Go(func() { asksOf(tt.first, first, "rack", body, edit...) })
					switch elapse(time.Second); when {
					case "kept", "by an idempotency key, kept":
						done.Wait()
					case "in a store":
						done.Wait()
						elapse(time.Second)
						second = over(t, base, keysOf(store, "https://rack", "cloud", "rack")...)
					case "in a store, endpoints in another order":
						done.Wait()
						elapse(time.Second)
						second = over(t, base, keysOf(store, "https://rack", "rack", "cloud")...)
					case "renewed":
						done.Wait()
						elapse(2 * time.Hour)
						cache := first.now().cache
						cache.policy.StaleWhileRevalidate = 24 * time.Hour
						cache.lifetime = cache.policy.lifetime()
						asksOf(tt.first, first, "rack", body)
						want++
					}
					got := asksOf(tt.second, second, "rack", body, edit...)
					done.Wait()
					elapse(2 * time.Minute)
					if n := base.Count(""); n != want || got.status() != 200 {
						t.Errorf("got %v after %d requests, want %d", got, n, want)
					}
					o, by := callOptions(tt.second), got.header(headerEndpoint)
					place := map[string]within.Place{"rack": {Name: "rack", Tags: own}, "cloud": {Name: "cloud"}}[by]
					if !tt.share && (!o.bounds.Has(&place) || o.Endpoint != "" && o.Endpoint != by) {
						t.Errorf("answered by %q", by)
					}
				})
			}
		}
	}
	bubble(t, "an endpoint that has moved", func(t *testing.T) {
		base, store := newHosts(gives(200, asJSON, goodJSON)), &memoryStore{}
		for i, url := range []string{"https://rack", "https://rack", "https://tower"} {
			asks(options(own), over(t, base, keysOf(store, url, "rack", "cloud")...), chatJSON, func(req *http.Request) { req.URL.Host = "cloud" })
			elapse(time.Second)
			if n := base.Count(""); n != 1+i/2 {
				t.Errorf("after %d processes: %d requests", i+1, n)
			}
		}
	})
}

// An attempt that a restricted call could have joined goes on elsewhere when its own callers
// have left, and a restricted one goes on within its bounds.
func TestWhere_LeaderLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		base.Set("rack", fakehost.After(time.Minute, failing503))
		rt := over(t, base, append(keysOf(nil, "https://rack", "rack", "cloud"), once)...)
		ctx, cancel := context.WithCancel(t.Context())
		var all sync.WaitGroup
		all.Go(func() { asksOf(ctx, rt, "rack", chatJSON) })
		elapse(time.Second)
		all.Go(func() {
			if got := asksOf(only(t.Context(), "own"), rt, "rack", chatJSON); got.status() != 503 {
				t.Errorf("the restricted call got %v", got)
			}
		})
		elapse(time.Second)
		cancel()
		all.Wait()
		if n := base.Count("cloud"); n != 0 || base.Count("rack") != 2 {
			t.Errorf("the cloud was asked %d times, the rack %d times", n, base.Count("rack"))
		}
	})
}

// After an Update, words stand for the endpoints that have them now. A call by the new ones
// does not share an attempt that may go where only the old ones allow.
func TestWhere_Update(t *testing.T) {
	tagged := func(name, url string, tags ...string) Endpoint {
		return Endpoint{Name: name, URL: url, APIKey: "sk-" + name, Tags: tags}
	}
	for name, tt := range map[string]struct {
		before, after []Endpoint
		asked         string // by a call after the Update
	}{
		"as before":             {[]Endpoint{tagged("rack", "https://rack", "own"), tagged("cloud", "https://cloud")}, []Endpoint{tagged("cloud", "https://cloud"), tagged("rack", "https://rack", "own", "gpu")}, "rack"},
		"another has the tag":   {[]Endpoint{tagged("rack", "https://rack"), tagged("cloud", "https://cloud", "own")}, []Endpoint{tagged("rack", "https://rack", "own"), tagged("cloud", "https://cloud")}, "rack cloud"},
		"one more has the tag":  {[]Endpoint{tagged("cloud", "https://cloud", "own")}, []Endpoint{tagged("rack", "https://rack", "own"), tagged("cloud", "https://cloud")}, "rack cloud"},
		"the endpoint moved":    {[]Endpoint{tagged("rack", "https://cloud", "own")}, []Endpoint{tagged("rack", "https://rack", "own")}, "rack cloud"},
		"nobody has it":         {[]Endpoint{tagged("rack", "https://rack", "own")}, []Endpoint{tagged("rack", "https://rack")}, "rack"},
		"there is no endpoint":  {[]Endpoint{tagged("rack", "https://rack", "own")}, nil, "rack"},
		"the URL's is gone":     {[]Endpoint{tagged("rack", "https://rack", "own"), tagged("cloud", "https://cloud")}, []Endpoint{tagged("cloud", "https://cloud"), tagged("rack", "https://rack", "own")}, "rack"},
		"only one is left":      {[]Endpoint{tagged("rack", "https://rack", "own")}, []Endpoint{tagged("cloud", "https://cloud", "own")}, "rack cloud"},
		"only another is left":  {[]Endpoint{tagged("rack", "https://rack", "own")}, []Endpoint{tagged("cloud", "https://cloud")}, "rack"},
		"only its name is left": {[]Endpoint{tagged("own", "https://rack")}, []Endpoint{tagged("own", "https://rack", "gpu")}, "rack"},
	} {
		bubble(t, name, func(t *testing.T) {
			base := newHosts(fakehost.After(10*time.Second, gives(200, asJSON, goodJSON)))
			of := func(list ...Endpoint) []Option {
				opts := []Option{steady(), WithBase(base), WithCache(CachePolicy{})}
				if list != nil {
					opts = append(opts, WithEndpoints(list...))
				}
				return opts
			}
			front := at("front") // the URL is the same, wherever the call goes
			rt, err := New(of(append(front, tt.before...)...)...)
			if err != nil {
				t.Fatal(err)
			}
			defer rt.Close()
			own := only(t.Context(), "own")
			ask := func() seen { return asksOf(own, rt, "front", chatJSON) }
			var first sync.WaitGroup
			first.Go(func() {
				if got := ask(); got.status() != 200 {
					t.Errorf("the first call got %v", got)
				}
			})
			elapse(time.Second)
			after := tt.after
			if after != nil && !strings.HasSuffix(name, "is gone") && !strings.HasSuffix(name, "is left") {
				after = append(front, after...)
			}
			if err := rt.Update(of(after...)...); err != nil {
				t.Fatal(err)
			}
			got, want := ask(), 200
			if name == "nobody has it" || name == "there is no endpoint" || name == "only another is left" {
				want = 503
			}
			if first.Wait(); got.status() != want || asked(base) != tt.asked || base.Count("") != len(strings.Fields(tt.asked)) {
				t.Errorf("asked %q in %d requests, want %q: %v", asked(base), base.Count(""), tt.asked, got)
			}
		})
	}
}

// BenchmarkWhere is what Call.Endpoints adds to a call over three endpoints: the choice of
// those that it may go to, beside that of a call that may go to all, and its part of the key.
func BenchmarkWhere(b *testing.B) {
	list := []Endpoint{DeepSeek("sk-1"), {Name: "second", URL: "https://second.example", APIKey: "sk-2", Tags: []string{"own", "gpu"}, Region: "eu"}}
	rt := transport(b, WithEndpoints(list...), WithBackup(SiliconFlow("sk-3")))
	target := rt.now().tiers[0][0]
	for name, ctx := range map[string]context.Context{"any": b.Context(), "tag": only(b.Context(), "own"), "two": only(b.Context(), "deepseek", "gpu"), "nested": only(only(b.Context(), "deepseek", "own"), "gpu", "deepseek")} {
		c := &call{Call: callOptions(ctx)}
		b.Run(name+"/choice", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				c.candidates = rt.now().candidatesFor(target, c.Endpoint, c.bounds)
			}
		})
		b.Run(name+"/key", func(b *testing.B) {
			b.ReportAllocs()
			var buf [512]byte
			for b.Loop() {
				if len(c.bounds) > 0 {
					c.appendPlaces(buf[:0])
				}
			}
		})
	}
}
