package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// A vault gives keys as a rotating secret does: the first one until it is rejected, then the
// next one, and so on. It keeps the last one. Without keys, it fails.
type vault struct {
	mu    sync.Mutex
	keys  []string
	asked []string // with which rejected keys
}

var errSealed = errors.New("sealed: token s.5ec4e7")

func (v *vault) key(_ context.Context, rejected string) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked = append(v.asked, rejected)
	if len(v.keys) == 0 {
		return "", errSealed
	}
	if rejected == v.keys[0] && len(v.keys) > 1 {
		v.keys = v.keys[1:]
	}
	return v.keys[0], nil
}

func (v *vault) rejected() (all []string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, key := range v.asked {
		if key != "" {
			all = append(all, key)
		}
	}
	return all
}

// keyedBy gives the endpoint primary a KeyFunc in place of its key.
func keyedBy(f func(context.Context, string) (string, error)) Option {
	return func(c *config) error {
		for i := range c.tiers[0] {
			if e := &c.tiers[0][i]; e.Name == "primary" {
				e.APIKey, e.KeyFunc = "", f
			}
		}
		return nil
	}
}

// slowly keeps the first attempt that has a key on its way for a while.
func slowly(key string, d time.Duration) Middleware {
	var begun atomic.Bool
	return func(next http.RoundTripper) http.RoundTripper {
		return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			if req.Header.Get("Authorization") == "Bearer "+key && !begun.Swap(true) {
				time.Sleep(d)
			}
			return next.RoundTrip(req)
		})
	}
}

func keysFrom(keys ...string) Option { return keyedBy((&vault{keys: keys}).key) }

// A rotation costs each call one attempt more, on every wire, in JSON and in streams, alone
// and with a backup, and even without a budget. Nobody fails, and nothing rests.
func TestKeyFunc_Rotation(t *testing.T) {
	for _, wire := range kit.Wires() {
		for _, names := range []string{"primary", "primary backup"} {
			for _, stream := range []bool{false, true} {
				t.Run(fmt.Sprint(wire, " ", names, " ", stream), func(t *testing.T) {
					v := &vault{keys: []string{"sk-primary", "sk-new"}}
					inWorld(t, names, []Option{keyedBy(v.key), WithRetry(RetryPolicy{Attempts: 1, Budget: Off, SendOnce: true})}, func(w *world) {
						w.wire = wire
						w.call("before", stream)
						w.fleet.Server("primary").SetKeys("sk-new")
						trail := &Trail{}
						reply, err := w.callWith(WithCall(w.t.Context(), Call{Trail: trail}), "at the rotation", stream, nil)
						got := trail.Attempts()
						if err != nil || reply.Content != kit.Answer("at the rotation") || len(got) != 2 {
							t.Fatalf("%q, %v after %+v", reply.Content, err, got)
						}
						if a := got[0]; a.Class != ClassKeyRejected || a.Verdict != VerdictAgain || a.N != 1 || a.Status != 401 || a.MayBeBilled {
							t.Errorf("the first attempt is %+v", a)
						}
						if a := got[1]; a.Class != ClassOK || a.Verdict != VerdictAccept || a.N != 2 || a.Endpoint != "primary" {
							t.Errorf("the second attempt is %+v", a)
						}
						w.call("after", stream)
						if got := fmt.Sprint(v.asked); got != "[  sk-primary ]" {
							t.Errorf("asked with %q", got)
						}
						if s := w.rt.Status(); len(s.Endpoints[0].Pauses) > 0 || s.Outcomes[OutcomeRetry] != 1 || s.Outcomes[OutcomeOK] != 2 {
							t.Errorf("status %+v", s)
						}
					})
				})
			}
		}
	}
}

// What rests the endpoint: a second key that is refused, the same key, and an error. What
// does not: a late refusal of an old key while the new one works.
func TestKeyFunc_Rests(t *testing.T) {
	for name, tt := range map[string]struct {
		again func() (string, error) // with a rejected key
		rests bool
	}{
		"another key is refused": {func() (string, error) { return "sk-wrong", nil }, true},
		"the same key":           {func() (string, error) { return "sk-old", nil }, true},
		"an error":               {func() (string, error) { return "", errSealed }, true},
		"a panic":                {func() (string, error) { panic("sk-old") }, true},
		"no key":                 {func() (string, error) { return "", nil }, true},
		"the right key":          {func() (string, error) { return "sk-primary", nil }, false},
	} {
		t.Run(name, func(t *testing.T) {
			key := func(_ context.Context, rejected string) (string, error) {
				if rejected != "" {
					return tt.again()
				}
				return "sk-old", nil
			}
			inWorld(t, "primary backup", []Option{keyedBy(key)}, func(w *world) {
				if _, err := w.call("q", false); err != nil {
					t.Fatal(err)
				}
				pauses := w.rt.Status().Endpoints[0].Pauses
				if got := len(pauses) == 1 && time.Until(pauses[0].Until) == keyPause; got != tt.rests {
					t.Errorf("pauses %+v, want them: %v", pauses, tt.rests)
				}
			})
		})
	}
}

// Two calls have the old key, one is refused and gets the new key, the other is refused
// long after: the function fails for it, and the endpoint does not rest.
func TestKeyFunc_LateRefusalOfAnOldKey(t *testing.T) {
	var current atomic.Value
	current.Store("sk-primary")
	var asked atomic.Int32
	key := func(_ context.Context, rejected string) (string, error) {
		if rejected != "" && asked.Add(1) > 1 {
			return "", errSealed
		}
		return current.Load().(string), nil
	}
	inWorld(t, "primary backup", []Option{keyedBy(key), WithAttemptMiddleware(slowly("sk-primary", 5*time.Second))}, func(w *world) {
		primary := w.fleet.Server("primary")
		var late sync.WaitGroup
		late.Go(func() {
			if reply, err := w.call("late", false); err != nil || reply.Content != kit.Answer("late") {
				t.Errorf("the late call: %q, %v", reply.Content, err)
			}
		})
		synctest.Wait()
		current.Store("sk-new")
		primary.SetKeys("sk-new")
		asked.Store(0)
		w.call("sooner", false)
		asked.Store(1)
		late.Wait()
		if pauses := w.rt.Status().Endpoints[0].Pauses; len(pauses) > 0 {
			t.Errorf("the endpoint rests: %+v", pauses)
		}
		if reply, _ := w.call("after", false); reply.Fingerprint != "fp_primary" {
			t.Errorf("%s answers", reply.Fingerprint)
		}
	})
}

// A function that gives no key sends nothing, least of all the caller's key. The error is
// typed, has the function's own in its chain, and quotes nothing of it, nowhere.
func TestKeyFunc_NoKey(t *testing.T) {
	for name, tt := range map[string]struct {
		key  func(context.Context, string) (string, error)
		says string
	}{
		"an error":                 {func(context.Context, string) (string, error) { return "sk-5ec4e7", errSealed }, "KeyFunc failed"},
		"a panic":                  {func(context.Context, string) (string, error) { panic("sk-5ec4e7") }, "KeyFunc panicked"},
		"nothing":                  {func(context.Context, string) (string, error) { return "", nil }, "KeyFunc gave a key that is empty"},
		"a line break at the end":  {func(context.Context, string) (string, error) { return "sk-5ec4e7\n", nil }, "KeyFunc gave a key that has a line break: if it comes from a file, use strings.TrimSpace"},
		"a line break in it":       {func(context.Context, string) (string, error) { return "sk-5ec4e7\r\nX-Evil: 1", nil }, "KeyFunc gave a key that has a line break: if it comes from a file, use strings.TrimSpace"},
		"a control character":      {func(context.Context, string) (string, error) { return "sk-5ec\x004e7", nil }, "KeyFunc gave a key that has a line break or control character in it"},
		"blanks around":            {func(context.Context, string) (string, error) { return " sk-5ec4e7", nil }, "KeyFunc gave a key that has blanks around it: use strings.TrimSpace"},
		"too much":                 {func(context.Context, string) (string, error) { return strings.Repeat("5ec4e7", 11<<10), nil }, "KeyFunc gave a key that is longer than 64 KiB"},
		"a header":                 {func(context.Context, string) (string, error) { return "Bearer sk-5ec4e7", nil }, `KeyFunc gave a key that begins with "Bearer ": give the key alone`},
		"nothing in ten seconds":   {func(ctx context.Context, _ string) (string, error) { <-ctx.Done(); return "", ctx.Err() }, "KeyFunc gave no key within 10s"},
		"a file that is not there": {KeyFile("/sk-5ec4e7"), "KeyFunc failed: the file does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			note := func(_ context.Context, e Event) { fmt.Fprintf(&log, "%+v %v\n", e, e.Err) }
			for _, names := range []string{"primary backup", "primary"} {
				inWorld(t, names, []Option{keyedBy(tt.key), WithObserver(note)}, func(w *world) {
					trail := &Trail{}
					ctx := WithCall(w.t.Context(), Call{Trail: trail})
					req, _ := kit.ChatRequest(ctx, w.fleet.Servers()[0].URL(), "sk-caller", testModel, "q", false)
					resp, err := w.rt.RoundTrip(req)
					if err != nil {
						t.Fatal(err)
					}
					body, _ := io.ReadAll(resp.Body)
					resp.Body.Close()
					fmt.Fprintf(&log, "%s %v %v\n", body, resp.Header, ErrorOf(resp))
					if got := w.fleet.Server("primary").Requests(); len(got) > 0 {
						t.Errorf("the host got %+v", got)
					}
					a := trail.Attempts()[0]
					if a.N != 0 || a.Class != ClassNoKey || !errors.Is(a.Err, ErrKeyFunc) || errors.Is(a.Err, ErrNoKey) || a.Err.Error() != "breakwater: "+tt.says {
						t.Errorf("attempt %+v, %v, want %s", a, a.Err, tt.says)
					}
					if name == "an error" && !errors.Is(a.Err, errSealed) {
						t.Errorf("%v is not the function's error", a.Err)
					}
					if names == "primary" && (resp.StatusCode != 503 || resp.Header.Get("Breakwater-Error") != "no_key" || !errors.Is(ErrorOf(resp), ErrKeyFunc) || !strings.Contains(ErrorOf(resp).Error(), tt.says)) {
						t.Errorf("%d %v %v %s", resp.StatusCode, resp.Header, ErrorOf(resp), body)
					}
					if names != "primary" && resp.Header.Get("Breakwater-Endpoint") != "backup" {
						t.Errorf("%v", resp.Header)
					}
				})
			}
			if strings.Contains(log.String(), "5ec4e7") || strings.Contains(log.String(), "sk-caller") {
				t.Errorf("a key is told: %s", log.String())
			}
		})
	}
}

// An attempt whose key is refused gets its new key while a hedge runs beside it, whichever of
// the two it is.
func TestKeyFunc_Hedge(t *testing.T) {
	for names, want := range map[string]string{
		"primary second": "3s [1 second outrun stop 2 primary key_rejected again 3 primary ok accept]",
		"second primary": "2s [1 primary key_rejected again 2 second outrun stop 3 primary ok accept]",
	} {
		v := &vault{keys: []string{"sk-old", "sk-primary"}}
		hedged := WithStream(StreamPolicy{Hedge: time.Second})
		inWorld(t, names, []Option{keyedBy(v.key), hedged, WithAttemptMiddleware(slowly("sk-old", 2*time.Second))}, func(w *world) {
			w.fleet.Server("second").SetPace(kit.Pace{Queue: time.Minute})
			trail := &Trail{}
			reply, err := w.callWith(WithCall(w.t.Context(), Call{Trail: trail}), "q", true, nil)
			if err != nil || reply.Fingerprint != "fp_primary" {
				t.Errorf("%s answers, %v", reply.Fingerprint, err)
			}
			var got []string
			for _, a := range trail.Attempts() {
				got = append(got, fmt.Sprint(a.N, " ", a.Endpoint, " ", a.Class, " ", a.Verdict))
			}
			if got := fmt.Sprint(time.Since(w.start), " ", got); got != want {
				t.Errorf("%s, want %s", got, want)
			}
			if s := w.rt.Status(); len(s.Endpoints[0].Pauses)+len(s.Endpoints[1].Pauses) > 0 {
				t.Errorf("an endpoint rests: %+v", s)
			}
		})
	}
}

// A rescue asks for a key of its own. A call and its rescues ask again once for an account.
func TestKeyFunc_Rescue(t *testing.T) {
	v := &vault{keys: []string{"sk-primary", "sk-new", "sk-newer"}}
	inWorld(t, "primary", []Option{keyedBy(v.key)}, func(w *world) {
		primary := w.fleet.Server("primary")
		primary.BreakNext(3, kit.CutStream(4))
		primary.SetPace(kit.Pace{PerToken: time.Second})
		time.AfterFunc(2*time.Second, func() { primary.SetKeys("sk-new") })
		time.AfterFunc(6*time.Second, func() { primary.SetKeys("sk-newer") })
		reply, err := w.call("q", true)
		if !errors.Is(err, ErrTruncated) {
			t.Errorf("%q, %v, want a second rotation to end it", reply.Content, err)
			for _, line := range w.lines {
				t.Log(line)
			}
		}
		if got := fmt.Sprint(v.rejected()); got != "[sk-primary]" {
			t.Errorf("asked again for %s", got)
		}
	})
	v = &vault{keys: []string{"sk-primary", "sk-new"}}
	inWorld(t, "primary", []Option{keyedBy(v.key)}, func(w *world) {
		primary := w.fleet.Server("primary")
		primary.BreakNext(1, kit.CutStream(4))
		primary.SetPace(kit.Pace{PerToken: time.Second})
		time.AfterFunc(2*time.Second, func() { primary.SetKeys("sk-new") })
		if reply, err := w.call("q", true); err != nil || reply.Content != kit.Answer("q") {
			t.Errorf("%q, %v", reply.Content, err)
		}
	})
}

// Requests that are no inference have the key, too: a GET and one that passes through. What
// cannot be sent twice is not, and the next request has the new key.
func TestKeyFunc_OtherRequests(t *testing.T) {
	once := func() io.Reader { return io.MultiReader(strings.NewReader("{}")) } // of no length, and without GetBody
	for name, tt := range map[string]struct {
		method, path string
		body         func() io.Reader
		again        bool
	}{
		"a GET":                        {"GET", "/models", nil, true},
		"a HEAD":                       {"HEAD", "/models", nil, true},
		"a DELETE":                     {"DELETE", "/files/1", nil, true},
		"a POST":                       {"POST", "/files", func() io.Reader { return strings.NewReader("{}") }, true},
		"a POST that cannot be resent": {"POST", "/files", once, false},
	} {
		t.Run(name, func(t *testing.T) {
			v := &vault{keys: []string{"sk-old", "sk-primary"}}
			var got []string
			base := RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				if req.Body != nil {
					io.Copy(io.Discard, req.Body)
					req.Body.Close()
				}
				got = append(got, req.Header.Get("Authorization"))
				status := http.StatusUnauthorized
				if req.Header.Get("Authorization") == "Bearer sk-primary" {
					status = http.StatusOK
				}
				return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("body")), Request: req}, nil
			})
			rt := over(t, base, WithEndpoints(Endpoint{Name: "a", URL: "https://a.example", KeyFunc: v.key}))
			ask := func() int {
				var body io.Reader
				if tt.body != nil {
					body = tt.body()
				}
				req, _ := http.NewRequest(tt.method, "https://a.example"+tt.path, body)
				req.Header.Set("Authorization", "Bearer sk-caller")
				resp, err := rt.RoundTrip(req)
				if err != nil {
					t.Fatal(err)
				}
				defer resp.Body.Close()
				if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "body" {
					t.Errorf("%q, %v", text, err)
				}
				return resp.StatusCode
			}
			if status := ask(); (status == 200) != tt.again {
				t.Errorf("status %d", status)
			}
			if status := ask(); status != 200 {
				t.Errorf("status %d with the new key", status)
			}
			sent := 3
			if !tt.again {
				sent = 2
			}
			if fmt.Sprint(v.rejected()) != "[sk-old]" || len(got) != sent {
				t.Errorf("asked again for %v, sent %v", v.rejected(), got)
			}
			v.keys = nil
			req, _ := http.NewRequest(tt.method, "https://a.example"+tt.path, nil)
			if resp, err := rt.RoundTrip(req); !errors.Is(err, ErrKeyFunc) || !errors.Is(err, errSealed) || strings.Contains(err.Error(), "5ec4e7") {
				t.Errorf("%v, %v, want an ErrKeyFunc", resp, err)
			}
			if len(got) != sent {
				t.Errorf("sent without a key: %v", got)
			}
		})
	}
	t.Run("a GET whose key stays refused comes as it came", func(t *testing.T) {
		base := RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 401, Header: http.Header{}, Body: io.NopCloser(strings.NewReader("no")), Request: req}, nil
		})
		v := &vault{keys: []string{"sk-old"}}
		rt := over(t, base, WithEndpoints(Endpoint{Name: "a", URL: "https://a.example", KeyFunc: v.key}))
		req, _ := http.NewRequest("GET", "https://a.example/models", nil)
		resp, err := rt.RoundTrip(req)
		if err != nil || resp.StatusCode != 401 {
			t.Fatal(resp, err)
		}
		text, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(text) != "no" || len(v.rejected()) != 1 {
			t.Errorf("%q, asked again for %v", text, v.rejected())
		}
	})
}

// An upload is not sent again. Its refusal rests nothing, because another key has come.
func TestKeyFunc_Upload(t *testing.T) {
	v := &vault{keys: []string{"sk-old", "sk-primary"}}
	inWorld(t, "primary backup", []Option{keyedBy(v.key), WithRetry(RetryPolicy{MaxReplay: 16})}, func(w *world) {
		_, err := w.call("large", false)
		var status *kit.StatusError
		if !errors.As(err, &status) || status.Code != 401 {
			t.Errorf("%v, want the 401", err)
		}
		if reply, err := w.call("large", false); err != nil || reply.Fingerprint != "fp_primary" {
			t.Errorf("%s, %v", reply.Fingerprint, err)
		}
	})
}

// Who leaves while the function hangs returns at once, with its own error. Close ends what
// waits.
func TestKeyFunc_HangsHoldNobody(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	hangs := func(context.Context, string) (string, error) { <-release; return "sk-primary", nil }
	t.Run("a cancel", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			release := make(chan struct{})
			var started atomic.Int32
			rt := over(t, memoryBase("application/json", goodJSON), WithEndpoints(Endpoint{URL: "https://api.deepseek.com", KeyFunc: func(context.Context, string) (string, error) {
				started.Add(1)
				<-release
				return "sk-primary", nil
			}}))
			for range 20 {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				began := time.Now()
				req, _ := kit.ChatRequest(ctx, "https://api.deepseek.com", "", testModel, "q", false)
				resp, err := rt.RoundTrip(req)
				if took := time.Since(began); took > 3*time.Second || resp == nil && !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("%v after %v", err, took)
				}
				cancel()
			}
			if n := started.Load(); n != 1 {
				t.Errorf("the function was started %d times", n)
			}
			close(release)
			synctest.Wait()
			roundTrip(t, t.Context(), rt, chat2K)
		})
	})
	t.Run("Close", func(t *testing.T) {
		rt := over(t, memoryBase("application/json", goodJSON), WithEndpoints(Endpoint{URL: "https://api.deepseek.com", KeyFunc: hangs}))
		done := make(chan error, 1)
		go func() {
			req, _ := kit.ChatRequest(context.Background(), "https://api.deepseek.com", "", testModel, "q", false)
			resp, err := rt.RoundTrip(req)
			if err == nil {
				err = ErrorOf(resp)
			}
			done <- err
		}()
		for {
			rt.Close()
			select {
			case err := <-done:
				if !errors.Is(err, ErrKeyFunc) {
					t.Errorf("%v, want an ErrKeyFunc", err)
				}
				return
			default:
			}
		}
	})
}

// Azure has a header of its own for keys, and takes tokens of Entra as bearer tokens.
func TestKeyFunc_Azure(t *testing.T) {
	token := "eyJhbGciOiJSUzI1NiJ9.eyJhdWQiOiJodHRwczovLyJ9.c2ln"
	for key, want := range map[string]http.Header{
		token:  {"Authorization": {"Bearer " + token}},
		"0a1b": {"Api-Key": {"0a1b"}},
	} {
		got := http.Header{}
		base := RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			for _, name := range []string{"Authorization", "Api-Key"} {
				if values := req.Header[name]; values != nil {
					got[name] = values
				}
			}
			return memoryBase("application/json", goodJSON).RoundTrip(req)
		})
		rt := over(t, base, WithEndpoints(AzureEntra("res", func(context.Context) (string, error) { return key, nil })))
		req, _ := kit.ChatRequest(t.Context(), "https://res.services.ai.azure.com/openai/v1", "sk-caller", "DeepSeek-V3.2", "q", false)
		resp, err := rt.RoundTrip(req)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		resp.Body.Close()
		if !maps.EqualFunc(got, want, func(a, b []string) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
			t.Errorf("sent %v, want %v", got, want)
		}
	}
}

// A 403 of a key that has just worked is about the key where the host says so.
func TestKeyFunc_ExpiresAtBedrock(t *testing.T) {
	v := &vault{keys: []string{"ABSKold", "ABSKnew"}}
	good := "ABSKold"
	base := RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		if req.Header.Get("Authorization") == "Bearer "+good {
			return memoryBase("application/json", goodJSON).RoundTrip(req)
		}
		text := `{"Message":"Bearer Token has expired"}`
		return &http.Response{StatusCode: 403, Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(text)), Request: req}, nil
	})
	e := Bedrock("us-east-1", "")
	e.KeyFunc = v.key
	rt := over(t, base, WithEndpoints(e))
	for range 2 {
		req, _ := kit.ChatRequest(t.Context(), e.URL, "", "deepseek-chat", "q", false)
		resp, err := rt.RoundTrip(req)
		if err != nil || resp.StatusCode != 200 {
			t.Fatal(resp, err)
		}
		resp.Body.Close()
		good = "ABSKnew"
	}
}

// What New says of a KeyFunc together with others.
func TestKeyFunc_Mistakes(t *testing.T) {
	f := func(context.Context, string) (string, error) { return "sk-5ec4e7", nil }
	for name, tt := range map[string]struct {
		e    Endpoint
		says string
	}{
		"APIKey, too":          {Endpoint{URL: "https://a.example", APIKey: "sk-5ec4e7", KeyFunc: f}, "APIKey is set, and so is KeyFunc: want one of them"},
		"Keyless, too":         {Endpoint{URL: "https://a.example", Keyless: true, KeyFunc: f}, "Keyless is set, and so is a key"},
		"plain http":           {Endpoint{URL: "http://a.example", KeyFunc: f}, "a key would go over plain http"},
		"Header, too":          {Endpoint{URL: "https://a.example", Header: http.Header{"X-Api-Key": {"sk-5ec4e7"}}, KeyFunc: f}, ""},
		"no project":           {Vertex("", "us-central1", textKey), "has no project or no location in its path"},
		"no location":          {Vertex("p", "", textKey), "has no project or no location in its path"},
		"no function":          {Vertex("p", "global", nil), "has no APIKey"},
		"as good as it can be": {Vertex("p", "global", textKey), ""},
	} {
		_, err := New(WithEndpoints(Endpoint{URL: "https://first.example", APIKey: "k"}), WithBackup(tt.e))
		if (err == nil) != (tt.says == "") || err != nil && (!strings.Contains(err.Error(), tt.says) || strings.Contains(err.Error(), "5ec4e7")) {
			t.Errorf("%s: %v, want %q", name, err, tt.says)
		}
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x"} {
			if text := fmt.Sprintf(verb, tt.e); strings.Contains(text, "5ec4e7") || strings.Contains(text, "0x") {
				t.Errorf("%s prints %s", verb, text)
			}
		}
	}
}

func textKey(context.Context) (string, error) { return "k", nil }

// KeyFile in a call: the file is replaced, as Kubernetes does it, and the call under way
// gets the new key.
func TestKeyFunc_File(t *testing.T) {
	dir := t.TempDir()
	write := func(version, key string) {
		t.Helper()
		if err := os.Mkdir(filepath.Join(dir, version), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, version, "key"), []byte(key+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(version, filepath.Join(dir, "next")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "data")); err != nil {
			t.Fatal(err)
		}
	}
	write("v1", "sk-old")
	var got []string
	base := RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		got = append(got, req.Header.Get("Authorization"))
		return memoryBase("application/json", goodJSON).RoundTrip(req)
	})
	e := DeepSeek("")
	e.KeyFunc = KeyFile(filepath.Join(dir, "data", "key"))
	rt := over(t, base, WithEndpoints(e))
	roundTrip(t, t.Context(), rt, chat2K)
	write("v2", "sk-new")
	roundTrip(t, t.Context(), rt, chat2K)
	if fmt.Sprint(got) != "[Bearer sk-old Bearer sk-new]" {
		t.Errorf("sent %v", got)
	}
}

// Close ends what waits for functions, also for those that Update has replaced.
func TestKeyFunc_CloseAfterUpdate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := at("a")[0]
		e.APIKey = ""
		e.KeyFunc = func(ctx context.Context, _ string) (string, error) { <-ctx.Done(); return "", ctx.Err() }
		rt := over(t, newHosts(gives(200, asJSON, goodJSON)), WithEndpoints(e), WithBackup(at("z")...), WithObserver(func(_ context.Context, e Event) {
			if e.Kind == KindKey {
				t.Errorf("%+v, but the function did nothing wrong", e)
			}
		}))
		start := time.Now()
		waits := calls(t, rt, chatJSON)
		elapse(time.Second)
		update(t, rt, WithEndpoints(at("a")...))
		rt.Close()
		synctest.Wait()
		if took := time.Since(start); !waits.done || took > 2*time.Second {
			t.Errorf("the call has ended: %v, after %v, want it to end with Close", waits.done, took)
		}
	})
}

// Update gives the function anew: a rest for its keys ends, and a pause that the host asked
// for stays. A call under way ends with the old function's keys.
func TestKeyFunc_Update(t *testing.T) {
	v := &vault{keys: []string{"sk-primary"}}
	inWorld(t, "primary backup", []Option{keyedBy(v.key)}, func(w *world) {
		again := func(keys ...string) {
			t.Helper()
			opts := append(w.endpoints("primary backup"), steady(), WithBase(w.rt.now().config.base), keysFrom(keys...))
			if err := w.rt.Update(opts...); err != nil {
				t.Fatal(err)
			}
		}
		primary := w.fleet.Server("primary")
		primary.SetKeys("sk-new")
		if reply, _ := w.call("refused", false); reply.Fingerprint != "fp_backup" {
			t.Errorf("%s answers", reply.Fingerprint)
		}
		again("sk-new")
		if reply, _ := w.call("with the new function", false); reply.Fingerprint != "fp_primary" {
			t.Errorf("%s answers after Update", reply.Fingerprint)
		}
		primary.BreakNext(1, kit.TooManyRequests("30"))
		w.call("limited", false)
		again("sk-new")
		if reply, _ := w.call("while it is limited", false); reply.Fingerprint != "fp_backup" {
			t.Errorf("%s answers although the host asked for a pause", reply.Fingerprint)
		}
	})
}

// The caller leaves while the function is asked again: that says nothing of the key, and
// nothing rests.
func TestKeyFunc_LeftWhileAskedAgain(t *testing.T) {
	key := func(ctx context.Context, rejected string) (string, error) {
		if rejected != "" {
			<-ctx.Done()
			return "", ctx.Err()
		}
		return "sk-old", nil
	}
	inWorld(t, "primary backup", []Option{keyedBy(key)}, func(w *world) {
		ctx, cancel := context.WithTimeout(w.t.Context(), 2*time.Second)
		defer cancel()
		w.callWith(ctx, "q", false, nil)
		if took := time.Since(w.start); took != 2*time.Second {
			t.Errorf("it took %v", took)
		}
		if pauses := w.rt.Status().Endpoints[0].Pauses; len(pauses) > 0 {
			t.Errorf("the endpoint rests: %+v", pauses)
		}
	})
}

// While the function is asked again, the attempt's permit is free for others.
func TestKeyFunc_AskedAgainHoldsNoPermit(t *testing.T) {
	key := func(_ context.Context, rejected string) (string, error) {
		if rejected != "" {
			time.Sleep(5 * time.Second)
			return "sk-primary", nil
		}
		return "sk-old", nil
	}
	one := WithRateLimit(RatePolicy{InFlight: 1, MaxWait: time.Second})
	inWorld(t, "primary", []Option{keyedBy(key), one}, func(w *world) {
		var both sync.WaitGroup
		for range 2 {
			both.Go(func() {
				if _, err := w.call("q", false); err != nil {
					t.Error(err)
				}
			})
		}
		both.Wait()
	})
}

// A rescue takes one attempt out of the budget, and none for its new key: ten a minute are
// free.
func TestKeyFunc_TakesNothingFromTheBudget(t *testing.T) {
	v := &vault{keys: []string{"sk-primary"}}
	for i := range 10 {
		v.keys = append(v.keys, fmt.Sprint("sk-", i))
	}
	inWorld(t, "primary", []Option{keyedBy(v.key)}, func(w *world) {
		primary := w.fleet.Server("primary")
		primary.SetPace(kit.Pace{PerToken: 10 * time.Millisecond})
		for i := range 10 {
			primary.BreakNext(1, kit.CutStream(4))
			time.AfterFunc(20*time.Millisecond, func() { primary.SetKeys(fmt.Sprint("sk-", i)) })
			if reply, err := w.call("q", true); err != nil || reply.Content != kit.Answer("q") {
				t.Errorf("call %d: %q, %v", i, reply.Content, err)
			}
		}
		if len(v.rejected()) != 10 {
			t.Errorf("asked again for %q", v.rejected())
		}
	})
}
