package sdktest

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

const (
	model       = "deepseek-flash"
	backupModel = "deepseek-v4-flash-ga" // the same by the backup's name
)

// A world is an SDK's client on breakwater, over two hosts: the primary, which
// the SDK is told of, and a backup that differs from it in everything.
type world struct {
	sdk    SDK
	client Client
	fleet  *kit.Fleet
	rt     *breakwater.Transport
	ownKey bool // the primary has no key of its own: the caller's is sent
	faults map[string]kit.Fault
	closes []func()
}

func newWorld(t *testing.T, sdk SDK, ownKey bool, opts ...breakwater.Option) *world {
	t.Helper()
	primary, backup := kit.DeepSeek("primary"), kit.OpenAI("backup")
	primary.Models = []string{model}
	if sdk.Model != "" { // as it was when the SDK was made, so that it has answers without breakwater
		primary.Models = append(primary.Models, sdk.Model)
	}
	backup.Models = []string{backupModel}
	backup.Keys = []string{"sk-backup"}
	backup.BasePath = "/api/v3"
	fleet, err := kit.NewFleet(primary, backup)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(fleet.Close)
	w := &world{sdk: sdk, fleet: fleet, ownKey: ownKey, faults: make(map[string]kit.Fault)}

	first := breakwater.Endpoint{Name: "primary", URL: w.origin(), APIKey: "sk-primary", Host: breakwater.HostDeepSeek}
	if ownKey {
		first.APIKey = ""
	}
	w.rt, err = breakwater.New(append([]breakwater.Option{
		breakwater.WithBase(w.base()),
		breakwater.WithEndpoints(first),
		breakwater.WithBackup(breakwater.Endpoint{
			Name: "backup", URL: w.server("backup").URL(), APIKey: "sk-backup",
			Models: map[string]string{model: backupModel},
		}),
		// Only the backoff is shortened: nothing here is about time.
		breakwater.WithRetry(breakwater.RetryPolicy{MinDelay: time.Millisecond, MaxDelay: time.Millisecond}),
	}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		w.rt.Close()
		for _, closes := range w.closes {
			closes()
		}
	})
	w.client = sdk.New(w.baseURL(), &http.Client{Transport: w.rt})
	return w
}

// origin is where the SDK believes the primary to be.
func (w *world) origin() string {
	if w.sdk.Origin != "" {
		return w.sdk.Origin
	}
	return w.server("primary").URL()
}

// baseURL is what the SDK is told.
func (w *world) baseURL() string {
	if w.sdk.Wire == kit.Messages {
		return w.origin() + "/anthropic"
	}
	return w.origin()
}

// base is the network: an origin that an SDK insists on leads to the primary.
func (w *world) base() http.RoundTripper {
	base := w.fleet.Transport()
	w.closes = append(w.closes, base.CloseIdleConnections)
	if w.sdk.Origin == "" {
		return base
	}
	return breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		if strings.HasPrefix(req.URL.String(), w.sdk.Origin) {
			to, err := url.Parse(w.server("primary").URL())
			if err != nil {
				return nil, err
			}
			req = req.Clone(req.Context())
			req.URL.Scheme, req.URL.Host, req.Host = to.Scheme, to.Host, ""
		}
		return base.RoundTrip(req)
	})
}

func (w *world) server(name string) *kit.Server { return w.fleet.Server(name) }

func (w *world) breaks(name string, fault kit.Fault) {
	w.server(name).Break(fault)
	w.faults[name] = fault
}

// ask asks q, streaming or not, and returns with the answer what the trail in
// the context tells of the call.
func (w *world) ask(ctx context.Context, q Question, stream bool) (Answer, []breakwater.Attempt, error) {
	var trail breakwater.Trail
	a, err := asks(breakwater.WithCall(ctx, breakwater.Call{Trail: &trail}), w.client, w.sdk.ask(q), stream)
	return a, trail.Attempts(), err
}

func asks(ctx context.Context, client Client, q Question, stream bool) (Answer, error) {
	if stream {
		return client.Stream(ctx, q)
	}
	return client.Chat(ctx, q)
}

// ask is a question as the SDK can ask it.
func (s SDK) ask(q Question) Question {
	if s.Model != "" {
		q.Model = s.Model
	}
	return q
}

// whole is the whole, right answer to q as the named host gives it.
func (w *world) whole(q Question, host string, stream bool) Answer {
	a := Answer{Text: kit.Answer(q.Prompt), Finish: "stop", Model: model, Fingerprint: "fp_" + host}
	if q.Tool != "" {
		a.Text, a.Tool, a.ToolArguments, a.Finish = "", q.Tool, kit.ToolArguments(q.Prompt), "tool_calls"
	}
	switch host {
	case "primary":
		if w.sdk.Model != "deepseek-chat" { // that one meant not to think; DeepSeek's others do unless told not to
			a.Reasoning = kit.Reasoning(q.Prompt)
		}
	case "backup":
		a.Model = backupModel
	}
	return w.sdk.shows(a, stream)
}

// sum tells a trail as "2 primary unavailable, 1 backup ok": after a backoff
// with jitter the order may vary.
func sum(trail []breakwater.Attempt) string {
	var names []string
	times := make(map[string]int)
	for _, a := range trail {
		name := fmt.Sprintf("%s %s", a.Endpoint, a.Class)
		if times[name]++; times[name] == 1 {
			names = append(names, name)
		}
	}
	for i, name := range names {
		names[i] = fmt.Sprintf("%d %s", times[name], name)
	}
	return strings.Join(names, ", ")
}

// checkOnce fails unless the SDK asked once, and each host got as many requests
// as the trail owns up to: none, if it refuses connections.
func (w *world) checkOnce(t *testing.T, trail []breakwater.Attempt) {
	t.Helper()
	if s := w.rt.Status(); s.Calls != 1 {
		t.Errorf("the SDK made %d calls of one", s.Calls)
	}
	for _, server := range w.fleet.Servers() {
		sent := 0
		for _, a := range trail {
			if a.Endpoint == server.Name() && w.faults[a.Endpoint].Name() != "Refused" {
				sent++
			}
		}
		if got := len(server.Requests()); got != sent {
			t.Errorf("%s got %d requests, want the trail's %d", server.Name(), got, sent)
		}
	}
}

// checkRequests fails if a host was asked in another way than its own, or
// learned what is not its business.
func (w *world) checkRequests(t *testing.T) {
	t.Helper()
	own := map[string]struct{ key, path, model string }{
		"primary": {"sk-primary", "/chat/completions", model},
		"backup":  {"sk-backup", "/api/v3/chat/completions", backupModel},
	}
	if w.sdk.Wire == kit.Messages {
		own["primary"], own["backup"] = struct{ key, path, model string }{"sk-primary", "/anthropic/v1/messages", model},
			struct{ key, path, model string }{"sk-backup", "/api/v3/v1/messages", backupModel} // where such a base would have it, as Anthropic's own
	}
	secrets := []string{"sk-primary", "sk-backup", CallerKey}
	for _, server := range w.fleet.Servers() {
		name, want := server.Name(), own[server.Name()]
		if name == "primary" && w.ownKey {
			want.key = CallerKey
		}
		for _, r := range server.Requests() {
			if r.Key != want.key || r.Path != want.path || r.Model != want.model {
				t.Errorf("%s was asked for %s with model %s and key %s, want %+v", name, r.Path, r.Model, r.Key, want)
			}
			var head bytes.Buffer
			if err := r.Header.Write(&head); err != nil {
				t.Fatal(err)
			}
			foreign := slices.DeleteFunc(slices.Clone(secrets), func(s string) bool { return s == want.key })
			if name == "backup" {
				foreign = append(foreign, CallerOrg)
			}
			for _, secret := range foreign {
				if strings.Contains(head.String()+r.RawQuery+string(r.Body), secret) {
					t.Errorf("%s was told %s:\n%s%s", name, secret, head.String(), r.Body)
				}
			}
		}
	}
}
