package breakwatertest_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater"
	bt "github.com/breakwater-go/breakwater/breakwatertest"
)

// careful reads an answer as a client should: one without a finish reason is none.
func careful(resp *http.Response) (bt.Reply, error) {
	reply, err := bt.ReadAnswer(resp)
	if err == nil && reply.FinishReason == "" {
		err = errors.New("the answer has no finish reason")
	}
	return reply, err
}

// Good clients have no findings, whatever the hosts do: one that makes one attempt, and
// breakwater.
func TestExpect_GoodClients(t *testing.T) {
	eachFault(t, func(t *testing.T, w bt.Wire, fault bt.Fault, stream bool, _ outcome) {
		hosts := []bt.Host{bt.DeepSeek("primary"), bt.DeepSeek("backup")}
		hosts[0].Keys, hosts[1].Keys = []string{"sk-primary"}, []string{"sk-backup"}
		inBubble(t, func(t *testing.T, c *client) {
			primary, backup := c.fleet.Server("primary"), c.fleet.Server("backup")
			endpoint := func(s *bt.Server) breakwater.Endpoint {
				return breakwater.Endpoint{Name: s.Name(), URL: s.URL(), APIKey: "sk-" + s.Name(), Host: breakwater.HostDeepSeek}
			}
			tr, err := breakwater.New(breakwater.WithBase(c.transport), breakwater.WithEndpoints(endpoint(primary)), breakwater.WithBackup(endpoint(backup)))
			if err != nil {
				t.Fatal(err)
			}
			defer tr.Close()
			primary.Break(fault)
			e := c.fleet.Expect(nil, bt.Client{SharedRetryAfter: true})
			for prompt, base := range map[string]http.RoundTripper{"bare": c.transport, "breakwater": tr, "again": tr} {
				ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
				req, err := w.Request(ctx, primary.WireURL(w), "sk-primary", model, prompt, stream)
				if err != nil {
					t.Fatal(err)
				}
				var reply bt.Reply
				resp, err := base.RoundTrip(req)
				if err == nil {
					reply, err = careful(resp)
				}
				cancel()
				e.Got(prompt, reply, err)
				time.Sleep(2 * time.Minute) // so that the bare client does not break what was asked of another
			}
			for _, f := range e.Findings() {
				t.Error(f)
			}
		}, hosts...)
	})
}

// Each bad client is found, and nothing else is said of it.
func TestExpect_BadClients(t *testing.T) {
	type world struct {
		*client
		t               *testing.T
		primary, backup *bt.Server
		e               *bt.Expectation
	}
	ask := func(w *world, s *bt.Server, key, prompt string) (bt.Reply, error) {
		req, err := bt.ChatRequest(w.t.Context(), s.URL(), key, model, prompt, true)
		if err != nil {
			w.t.Fatal(err)
		}
		return w.do(req)
	}
	// open begins a stream and returns how to leave it.
	open := func(w *world, prompt string) func() {
		ctx, cancel := context.WithCancel(w.t.Context())
		req, err := bt.ChatRequest(ctx, w.primary.URL(), "sk-primary", model, prompt, true)
		if err != nil {
			w.t.Fatal(err)
		}
		resp, err := w.transport.RoundTrip(req)
		if err != nil {
			w.t.Fatal(err)
		}
		return func() { cancel(); resp.Body.Close() }
	}
	for _, tt := range []struct {
		name   string
		expect bt.Client
		play   func(w *world)
		want   []string // host, request, fail
	}{
		{"retries before Retry-After", bt.Client{}, func(w *world) {
			w.primary.BreakNext(1, bt.TooManyRequests("10"))
			_, _ = ask(w, w.primary, "sk-primary", "a")
			time.Sleep(9 * time.Second)
			_, _ = ask(w, w.primary, "sk-primary", "a")
		}, []string{"primary 2 retried too early"}},
		{"waits for Retry-After", bt.Client{}, func(w *world) {
			w.primary.BreakNext(1, bt.TooManyRequestsMS("1500"))
			_, _ = ask(w, w.primary, "sk-primary", "a")
			_, _ = ask(w, w.primary, "sk-primary", "b") // another call
			time.Sleep(1500 * time.Millisecond)
			_, _ = ask(w, w.primary, "sk-primary", "a")
		}, nil},
		{"asks another prompt before Retry-After", bt.Client{SharedRetryAfter: true}, func(w *world) {
			w.primary.BreakNext(1, bt.TooManyRequests("10"))
			_, _ = ask(w, w.primary, "sk-primary", "a")
			_, _ = ask(w, w.primary, "sk-primary", "b")
		}, []string{"primary 2 retried too early"}},
		{"does not back off", bt.Client{}, func(w *world) {
			w.primary.BreakNext(1, bt.Busy())
			_, _ = ask(w, w.primary, "sk-primary", "a")
			_, _ = ask(w, w.primary, "sk-primary", "a")
		}, []string{"primary 2 retried too early"}},
		{"backs off too little", bt.Client{MinWait: time.Second}, func(w *world) {
			w.primary.BreakNext(1, bt.Busy())
			_, _ = ask(w, w.primary, "sk-primary", "a")
			time.Sleep(time.Second - 1)
			_, _ = ask(w, w.primary, "sk-primary", "a")
		}, []string{"primary 2 retried too early"}},
		{"makes too many attempts", bt.Client{}, func(w *world) {
			w.primary.Break(bt.ServerError())
			for range 4 {
				_, _ = ask(w, w.primary, "sk-primary", "a")
				time.Sleep(time.Second)
			}
		}, []string{"primary 4 hammered"}},
		{"goes on after refusals", bt.Client{MaxRefused: 3}, func(w *world) {
			w.primary.Break(bt.Busy())
			for i := range 4 {
				_, _ = ask(w, w.primary, "sk-primary", fmt.Sprint(i))
			}
		}, []string{"primary 4 hammered"}},
		{"makes connections", bt.Client{MaxConnections: 1}, func(w *world) {
			for i := range 2 {
				_, _ = ask(w, w.primary, "sk-primary", fmt.Sprint(i))
				w.transport.CloseIdleConnections()
			}
		}, []string{"primary 0 hammered"}},
		{"sends again what was refused", bt.Client{}, func(w *world) {
			for _, f := range []bt.Fault{bt.ContentFilter(), bt.Unauthorized(), bt.Overdue()} {
				w.primary.BreakNext(1, f)
				_, _ = ask(w, w.primary, "sk-primary", f.Name())
				_, _ = ask(w, w.primary, "sk-primary", f.Name())
			}
		}, []string{"primary 2 resent", "primary 4 resent", "primary 6 resent"}},
		{"sends again with another key", bt.Client{}, func(w *world) {
			w.primary.SetKeys("sk-new")
			_, _ = ask(w, w.primary, "sk-primary", "a")
			_, _ = ask(w, w.primary, "sk-new", "a")
		}, nil},
		{"takes half for whole", bt.Client{}, func(w *world) {
			w.primary.Break(bt.EndStream(3))
			reply, err := ask(w, w.primary, "sk-primary", "a")
			w.e.Got("a", reply, err)
		}, []string{" 0 took half for whole"}},
		{"says that it has half", bt.Client{}, func(w *world) {
			w.primary.Break(bt.CutStream(3))
			reply, err := ask(w, w.primary, "sk-primary", "a")
			w.e.Got("a", reply, err)
		}, nil},
		{"leaks a key", bt.Client{Keys: map[string][]string{"backup": {"sk-more"}}}, func(w *world) {
			_, _ = ask(w, w.primary, "sk-backup", "a")
			_, _ = ask(w, w.primary, "sk-primary", "my key is sk-more")
		}, []string{"primary 1 leaked a key", "primary 2 leaked a key"}},
		{"leaks a prompt", bt.Client{Allowed: func(prompt, host string) bool { return host == "primary" || prompt != "secret" }}, func(w *world) {
			_, _ = ask(w, w.primary, "sk-primary", "secret")
			_, _ = ask(w, w.backup, "sk-backup", "secret")
			_, _ = ask(w, w.backup, "sk-backup", "b")
		}, []string{"backup 1 leaked a prompt"}},
		{"leaves an answer open", bt.Client{}, func(w *world) {
			w.primary.Break(bt.StallStream(3))
			leave := open(w, "a")
			w.e.Got("a", bt.Reply{}, errors.New("it took too long"))
			w.t.Cleanup(leave)
		}, []string{"primary 1 left a request open"}},
		{"ignores a cancel", bt.Client{}, func(w *world) {
			w.primary.Break(bt.StallStream(3))
			leave := open(w, "a")
			w.e.Cancelled("a")
			w.t.Cleanup(leave)
		}, []string{"primary 1 went on after its cancel"}},
		{"tries again after a cancel", bt.Client{}, func(w *world) {
			leave := open(w, "a")
			leave()
			w.e.Cancelled("a")
			time.Sleep(2 * time.Second)
			_, _ = ask(w, w.primary, "sk-primary", "a")
		}, []string{"primary 2 went on after its cancel"}},
		{"heeds a cancel", bt.Client{}, func(w *world) {
			w.primary.Break(bt.StallStream(3))
			leave := open(w, "a")
			w.e.Cancelled("a")
			leave()
		}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			hosts := []bt.Host{bt.DeepSeek("primary"), bt.DeepSeek("backup")}
			hosts[0].Keys, hosts[1].Keys = []string{"sk-primary"}, []string{"sk-backup"}
			inBubble(t, func(t *testing.T, c *client) {
				w := &world{client: c, t: t, primary: c.fleet.Server("primary"), backup: c.fleet.Server("backup")}
				w.e = c.fleet.Expect(nil, tt.expect)
				tt.play(w)
				var got []string
				for _, f := range w.e.Findings() {
					got = append(got, fmt.Sprintf("%s %d %s", f.Host, f.Request, f.Fail))
					for _, word := range []string{"sk-", "secret", bt.Answer("a")} {
						if strings.Contains(f.String(), word) {
							t.Errorf("%q quotes %q", f, word)
						}
					}
				}
				if !slices.Equal(got, tt.want) {
					t.Errorf("got %q, want %q", got, tt.want)
				}
			}, hosts...)
		})
	}
}

// spy is a testing.TB that keeps what it is told.
type spy struct {
	ends   []func()
	failed []string
}

func (s *spy) Helper()                      {}
func (s *spy) Cleanup(f func())             { s.ends = append(s.ends, f) }
func (s *spy) Errorf(f string, args ...any) { s.failed = append(s.failed, fmt.Sprintf(f, args...)) }

// At its end, a test fails by what was found.
func TestExpect_FailsTheTest(t *testing.T) {
	inBubble(t, func(t *testing.T, c *client) {
		s, to := c.fleet.Server("primary"), &spy{}
		s.Expect(to, bt.Client{MaxAttempts: 1})
		for range 2 {
			c.mustAnswer(s, "a", false)
		}
		for _, end := range to.ends {
			end()
		}
		if want := "primary: request 2: hammered: attempt 2 with its prompt, want at most 1"; len(to.failed) != 1 || to.failed[0] != want {
			t.Errorf("failed with %q, want %q", to.failed, want)
		}
	}, bt.DeepSeek("primary"))
}
