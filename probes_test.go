package breakwater

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A probed is a base whose hosts answer probes and calls as the test says, and what was asked
// and told.
type probed struct {
	mu     sync.Mutex // guards what follows
	asked  []string   // "host GET path key"
	does   map[string]handler
	events []Event
}

func newProbed() *probed { return &probed{does: make(map[string]handler)} }

// set has a host answer a path like this; "": all paths that are not set.
func (p *probed) set(host, path string, do handler) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.does[host+path] = do
}

func (p *probed) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		req.Body.Close()
	}
	p.mu.Lock()
	p.asked = append(p.asked, strings.TrimSpace(req.URL.Host+" "+req.Method+" "+req.URL.Path+" "+strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")))
	do := p.does[req.URL.Host+req.URL.Path]
	if do == nil {
		do = p.does[req.URL.Host]
	}
	p.mu.Unlock()
	if do == nil {
		do = gives(404, asJSON, `{"error":{"message":"no such path"}}`)
	}
	return do(req)
}

func (p *probed) observe(_ context.Context, e Event) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if e.Kind == KindHealth || e.Kind == KindBalance {
		p.events = append(p.events, e)
	}
}

// count is how often something was asked since the last count.
func (p *probed) count(what string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, asked := range p.asked {
		if strings.HasPrefix(asked, what) {
			n++
		}
	}
	p.asked = nil
	return n
}

// kinds are the events since the last look.
func (p *probed) kinds() (kinds []Kind) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, e := range p.events {
		kinds = append(kinds, e.Kind)
	}
	p.events = nil
	return kinds
}

const theModels = `{"object":"list","data":[{"id":"deepseek-flash"},{"id":"m"}]}`

// own is DeepSeek's own endpoint.
func own() Endpoint { return DeepSeek("sk-own") }

// ask makes a call that is meant for an endpoint's host.
func (p *probed) ask(t *testing.T, rt *Transport, url string) seen {
	req, _ := post(t.Context(), url, chatJSON)
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return seen{err: err}
	}
	resp.Body.Close()
	return seen{resp: resp}
}

func healthOf(t *testing.T, rt *Transport, name string) HealthStatus {
	t.Helper()
	for _, e := range rt.Status().Endpoints {
		if e.Name == name && e.Health != nil {
			return *e.Health
		}
	}
	t.Fatalf("nothing is known of %s", name)
	return HealthStatus{}
}

// An idle endpoint is probed now and then, ever less often; one that answers calls is not.
func TestProbes_OnlyWhereNobodyAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newProbed()
		base.set("a", "/models", gives(200, asJSON, theModels))
		base.set("a", "", gives(200, asJSON, goodJSON))
		base.set("b", "/models", gives(200, asJSON, theModels))
		rt := over(t, base, WithEndpoints(at("a")...), WithBackup(at("b")...), WithProbes(ProbePolicy{}), WithObserver(base.observe))
		for range 60 * 30 { // a call each two seconds
			base.ask(t, rt, "https://a")
			elapse(2 * time.Second)
		}
		base.mu.Lock()
		asked := slices.Clone(base.asked)
		base.mu.Unlock()
		if n := base.count("a GET"); n > 1 {
			t.Errorf("a was probed %d times although it answers", n)
		}
		n := 0
		for _, a := range asked {
			if a == "b GET /models sk-b" {
				n++
			}
		}
		if n < 6 || n > 14 { // 1, 2, 4, 8 and 10 minutes apart
			t.Errorf("b was probed %d times in an hour", n)
		}
		if h := healthOf(t, rt, "b"); h.Reachable != FindingYes || h.Credential != FindingYes || h.Checked.IsZero() {
			t.Errorf("b's health is %+v", h)
		}
		if h := healthOf(t, rt, "a"); h.Reachable != FindingYes || h.Credential != FindingYes || time.Since(h.Checked) > 2*time.Minute {
			t.Errorf("a's health is %+v", h)
		}
		if kinds := base.kinds(); len(kinds) > 0 {
			t.Errorf("events %v, want none: all is well", kinds)
		}
		if s := rt.Status(); s.Calls != 60*30 || s.Attempts != 60*30 {
			t.Errorf("%d calls and %d attempts are counted, want those of the caller", s.Calls, s.Attempts)
		}
	})
}

// What a probe finds is told once, and again when it changes.
func TestProbes_Findings(t *testing.T) {
	missing := gives(200, asJSON, `{"object":"list","data":[{"id":"other"}]}`)
	for _, tt := range []struct {
		name string
		does handler
		want string // reachable, credential, missing
	}{
		{"well", gives(200, asJSON, theModels), "yes yes []"},
		{"a revoked key", gives(401, asJSON, `{"error":{"message":"no such key"}}`), "yes no []"},
		{"a forbidden key", gives(403, asJSON, `{"error":{"message":"no","code":"invalid_api_key"}}`), "yes no []"},
		{"a firewall", gives(403, "text/html", `<html>no</html>`), "yes  []"},
		{"a refused connection", refusing, "no  []"},
		{"a host that hangs", hanging, "no  []"},
		{"a host that fails", failing503, "no  []"},
		{"no such path", nil, "yes  []"},
		{"a page", gives(200, "text/html", `<html>hello</html>`), "yes  []"},
		{"models that are gone", missing, "yes yes [served]"},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base := newProbed()
			base.set("b", "/models", tt.does)
			b := at("b")
			b[0].Models = map[string]string{"deepseek-flash": "served"}
			if tt.name == "well" {
				b[0].Models = map[string]string{"deepseek-flash": "deepseek-flash"}
			}
			var logged bytes.Buffer
			rt := over(t, base, WithEndpoints(at("a")...), WithBackup(b...), WithProbes(ProbePolicy{}), WithObserver(base.observe),
				WithObserver(Log(slog.New(slog.NewTextHandler(&logged, nil)))))
			elapse(30 * time.Minute)
			h := healthOf(t, rt, "b")
			if got := fmt.Sprint(h.Reachable, " ", h.Credential, " ", h.Missing); got != tt.want {
				t.Errorf("found %q, want %q", got, tt.want)
			}
			base.mu.Lock()
			events := 0
			for _, e := range base.events {
				if e.Endpoint == "b" {
					events++
				}
			}
			base.events = nil
			base.mu.Unlock()
			bad := strings.Contains(tt.want, "no") || strings.Contains(tt.want, "served")
			if (events == 1) != bad {
				t.Errorf("%d events, want one if something is wrong: %v", events, bad)
			}
			if warns := strings.Contains(logged.String(), `level=WARN msg="breakwater: health" endpoint=b`); warns != bad {
				t.Errorf("the log is %s", logged.String())
			}
			if strings.Contains(logged.String(), "sk-") {
				t.Errorf("the log shows a key: %s", logged.String())
			}
			base.set("b", "/models", gives(200, asJSON, theModels))
			base.set("b", "", gives(200, asJSON, goodJSON))
			elapse(30 * time.Minute)
			if h := healthOf(t, rt, "b"); h.Reachable != FindingYes || h.Credential != FindingYes {
				t.Errorf("after it is well again: %+v", h)
			}
		})
	}
}

// A probe ends the pause for a key or for money when that is mended, and no other pause; and
// it closes no circuit.
func TestProbes_EndPauses(t *testing.T) {
	says401 := gives(401, asJSON, `{"error":{"message":"no such key","type":"authentication_error","code":"invalid_api_key"}}`)
	says402 := gives(402, asJSON, `{"error":{"message":"Insufficient Balance"}}`)
	says429 := gives(429, asJSON, `{"error":{"message":"slow down"}}`, "Retry-After", "500")
	listed, money, none := gives(200, asJSON, theModels), gives(200, asJSON, balanceOf(100)), gives(200, asJSON, `{"is_available":false,"balance_infos":[]}`)
	for _, tt := range []struct {
		name            string
		end             Endpoint
		calls           handler // how calls are answered
		models, balance handler // then
		ends            bool
	}{
		{"key, mended", own(), says401, listed, money, true},
		{"key, not mended", own(), says401, says401, says401, false},
		{"key, a list that anybody gets", at("b")[0], says401, listed, nil, false},
		{"money, paid", own(), says402, listed, money, true},
		{"money, not paid", own(), says402, listed, none, false},
		{"money, nobody tells", at("b")[0], says402, listed, nil, false},
		{"a pause that the host asked for", own(), says429, listed, money, false},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base := newProbed()
			host := strings.TrimPrefix(tt.end.URL, "https://")
			base.set(host, "", tt.calls)
			base.set(host, "/models", tt.models)
			base.set(host, "/user/balance", tt.balance)
			base.set("z", "", gives(200, asJSON, goodJSON))
			rt := over(t, base, WithEndpoints(tt.end), WithBackup(at("z")...), WithProbes(ProbePolicy{}), WithObserver(base.observe))
			base.ask(t, rt, tt.end.URL)
			base.set(host, "", gives(200, asJSON, goodJSON))
			elapse(4 * time.Minute)
			base.count("")
			base.ask(t, rt, tt.end.URL)
			if asked := base.count(host+" POST") > 0; asked != tt.ends {
				t.Errorf("the endpoint is asked again: %v, want %v", asked, tt.ends)
			}
		})
	}
	bubble(t, "a pause for a firewall", func(t *testing.T) {
		base := newProbed()
		base.set("api.deepseek.com", "", gives(200, asJSON, goodJSON))
		base.set("api.deepseek.com", "/models", listed)
		base.set("z", "", gives(200, asJSON, goodJSON))
		rt := over(t, base, WithEndpoints(own()), WithBackup(at("z")...), WithProbes(ProbePolicy{Every: 2 * time.Second}))
		rt.pauses.PenalizeOnce(pauseKey{endpoint: rt.now().tiers[0][0].identity}, time.Now(), maxBlockedPause, maxBlockedPause, nil)
		elapse(maxBlockedPause - 10*time.Second) // beyond the patience
		base.ask(t, rt, own().URL)
		if n := base.count("api.deepseek.com POST"); n != 0 {
			t.Error("a probe ended the pause, although calls pass where it did not")
		}
	})
	bubble(t, "circuit", func(t *testing.T) {
		base := newProbed()
		base.set("a", "", gives(500, asJSON, `{"error":{"message":"broken"}}`))
		base.set("a", "/models", listed)
		base.set("z", "", gives(200, asJSON, goodJSON))
		rt := over(t, base, WithEndpoints(at("a")...), WithBackup(at("z")...), WithProbes(ProbePolicy{}), once, WithBreaker(BreakerPolicy{Consecutive: 2, OpenFor: time.Hour, MaxOpenFor: 2 * time.Hour}))
		for range 3 {
			base.ask(t, rt, "https://a")
		}
		elapse(20 * time.Minute)
		if c := rt.Status().Endpoints[0].Circuits; len(c) != 1 || c[0].State != "open" {
			t.Errorf("the circuits are %+v, want it open: probes are no calls", c)
		}
	})
}

func balanceOf(amount float64) string {
	return fmt.Sprintf(`{"is_available":%v,"balance_infos":[{"currency":"CNY","total_balance":"%.2f","granted_balance":"0.00","topped_up_balance":"%.2f"}]}`, amount > 0, amount, amount)
}

// A balance that falls is told once below the bound, with how long it lasts.
func TestProbes_Balance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newProbed()
		var mu sync.Mutex
		amount := 100.0
		base.set("api.deepseek.com", "/user/balance", func(req *http.Request) (*http.Response, error) {
			mu.Lock()
			defer mu.Unlock()
			return gives(200, asJSON, balanceOf(amount))(req)
		})
		base.set("api.deepseek.com", "/models", gives(200, asJSON, theModels))
		base.set("api.deepseek.com", "", gives(200, asJSON, goodJSON))
		twin := own().Named("twin")
		account := own()
		account.Account, twin.Account = "x", "x"
		rt := over(t, base, WithEndpoints(account, twin), WithProbes(ProbePolicy{LowBalance: 40}), WithObserver(base.observe))
		for range 9 * 60 { // nine hours, at ten an hour; calls do not take the place of this
			base.ask(t, rt, "https://api.deepseek.com")
			elapse(time.Minute)
			mu.Lock()
			amount -= 10.0 / 60
			mu.Unlock()
		}
		if n := base.count("api.deepseek.com GET /user/balance sk-own"); n < 45 || n > 65 {
			t.Errorf("the balance was asked %d times in nine hours", n)
		}
		base.mu.Lock()
		events := slices.Clone(base.events)
		base.mu.Unlock()
		if len(events) != 1 || events[0].Kind != KindBalance || events[0].Health.Balance.Amount > 40 || events[0].Health.Balance.Left > 4*time.Hour || events[0].Health.Balance.Left < 3*time.Hour {
			t.Errorf("the events are %+v, want one with three to four hours left", events)
		}
		if h := healthOf(t, rt, "deepseek"); h.Funds != FindingYes || h.Balance == nil || h.Balance.PerHour < 9 || h.Balance.PerHour > 11 {
			t.Errorf("the health is %+v, %+v", h, h.Balance)
		}
	})
}

// A probe has the endpoint's key and headers and nobody else's, waits for nobody, and ends with
// its Transport or its generation.
func TestProbes_Requests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newProbed()
		var headers []http.Header
		base.set("b", "/v1/models", func(req *http.Request) (*http.Response, error) {
			headers = append(headers, req.Header.Clone())
			return gives(200, asJSON, theModels)(req)
		})
		base.set("c", "/models", hanging)
		end := Endpoint{Name: "b", URL: "https://b/v1", APIKey: "sk-b", Header: http.Header{"X-Team": {"1"}}}
		panics := Endpoint{Name: "d", URL: "https://d", APIKey: "sk-d", Rewrite: func(*http.Request) error { panic("sk-secret") }}
		keyless := Endpoint{Name: "e", URL: "https://e", Keyless: true}
		rt := over(t, base, WithEndpoints(end, panics, keyless), WithBackup(at("c")...), WithProbes(ProbePolicy{Every: 10 * time.Second, Timeout: time.Second}), WithObserver(base.observe))
		elapse(time.Minute)
		if len(headers) == 0 || headers[0].Get("Authorization") != "Bearer sk-b" || headers[0].Get("X-Team") != "1" || headers[0].Get("Accept") != "application/json" {
			t.Errorf("the probes had %v", headers)
		}
		if h := healthOf(t, rt, "d"); h.Reachable != "" {
			t.Errorf("of an endpoint whose Rewrite panics is known: %+v", h)
		}
		if n := base.count("e GET /models"); n == 0 {
			t.Error("a host that wants no key was not probed")
		}
		update(t, rt, WithEndpoints(end))
		base.count("")
		elapse(time.Hour)
		if n := base.count(""); n != 0 {
			t.Errorf("%d probes after an Update without them", n)
		}
		update(t, rt, WithEndpoints(end), WithProbes(ProbePolicy{Every: 10 * time.Second}))
		elapse(time.Minute)
		if n := base.count("b GET"); n == 0 {
			t.Error("no probe after an Update with them")
		}
		rt.Close()
		elapse(time.Hour)
		if n := base.count(""); n != 0 {
			t.Errorf("%d probes after Close", n)
		}
	})
}

// An Observer that panics ends neither the process nor the probes.
func TestProbes_ObserverPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newProbed()
		base.set("a", "/models", gives(500, asJSON, `{}`))
		over(t, base, WithEndpoints(at("a")...), WithProbes(ProbePolicy{}), WithObserver(func(context.Context, Event) { panic("observer") }))
		elapse(time.Minute)
		base.count("")
		elapse(time.Hour)
		if base.count("a GET") == 0 {
			t.Error("the endpoint is probed no more")
		}
	})
}

// The balance of an account is asked for where its host tells it.
func TestProbes_BalanceOfASharedAccount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newProbed()
		base.set("api.deepseek.com", "/user/balance", gives(200, asJSON, balanceOf(100)))
		gateway, direct := at("gateway")[0], own()
		gateway.Account, direct.Account = "one", "one"
		over(t, base, WithEndpoints(gateway), WithBackup(direct), WithProbes(ProbePolicy{}))
		elapse(time.Hour)
		if base.count("api.deepseek.com GET /user/balance") == 0 {
			t.Error("the balance is never asked for")
		}
	})
}

func TestProbes_Mistakes(t *testing.T) {
	for want, opts := range map[string][]Option{
		"no endpoints to probe":     {WithProbes(ProbePolicy{})},
		"Every is -1ns":             {WithEndpoints(at("a")...), WithProbes(ProbePolicy{Every: Off})},
		"Timeout is -1ns":           {WithEndpoints(at("a")...), WithProbes(ProbePolicy{Timeout: Off})},
		"BalanceEvery is -5ns":      {WithEndpoints(at("a")...), WithProbes(ProbePolicy{BalanceEvery: -5})},
		"LowBalance is -20":         {WithEndpoints(at("a")...), WithProbes(ProbePolicy{LowBalance: -20})},
		"Every is 60ns":             {WithEndpoints(at("a")...), WithProbes(ProbePolicy{Every: 60})},
		"the option is given twice": {WithEndpoints(at("a")...), WithProbes(ProbePolicy{}), WithProbes(ProbePolicy{})},
	} {
		if _, err := New(opts...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
