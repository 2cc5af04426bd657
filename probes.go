package breakwater

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater/internal/background"
	"github.com/breakwater-go/breakwater/internal/health"
	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A prober asks free requests of the endpoints of one generation. Each endpoint has a
// goroutine of its own, so that one that hangs delays no other.
type prober struct {
	policy ProbePolicy
	g      *generation
	payers map[string]*upstream // who asks for the balance, by account
}

func newProber(g *generation) *prober {
	p := &prober{policy: *g.config.probes, g: g, payers: make(map[string]*upstream)}
	for _, u := range slices.Concat(g.tiers...) {
		if p.payers[u.Account] == nil && u.tellsBalance() {
			p.payers[u.Account] = u
		}
	}
	return p
}

// tellsBalance reports whether the host of the endpoint tells the balance of its key.
func (u *upstream) tellsBalance() bool {
	return u.profile.BalancePath != "" && u.keyed && u.isOwn()
}

// run probes until ctx ends or another generation takes the place of this one.
func (p *prober) run(ctx context.Context) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var endpoints sync.WaitGroup
	for _, u := range slices.Concat(p.g.tiers...) {
		endpoints.Go(func() { p.watch(ctx, u) })
	}
	select {
	case <-ctx.Done():
	case <-p.g.replaced:
	}
	cancel()
	endpoints.Wait()
}

const (
	// While probes show nothing new, they come less often: down to every so many times.
	idleTimes   = 10
	pausedTimes = 4 // of a rejected key, or an empty account
)

// watch probes one endpoint. The first probe comes at a random time, because processes that
// begin together would go on together.
func (p *prober) watch(ctx context.Context, u *upstream) {
	wait := p.policy.Every // between probes
	var due, balanceDue time.Time
	for turn := p.first(); sleepFor(ctx, turn); turn = p.jittered(p.policy.Every) {
		now := time.Now()
		most, resting := idleTimes*p.policy.Every, p.restsByKey(u, now)
		if resting {
			most = pausedTimes * p.policy.Every
		}
		asksBalance := p.policy.BalanceEvery > 0 && p.payers[u.Account] == u
		asks := asksFor{balance: asksBalance && (resting || !now.Before(balanceDue))}
		if last := u.lastAnswer(); now.Sub(last) < p.policy.Every && !resting {
			u.health.Answered(last, u.keyed)
			wait = p.policy.Every
		} else {
			asks.models = !now.Before(due)
		}
		if asks == (asksFor{}) {
			continue
		}
		news := p.probe(ctx, u, asks)
		if asks.balance {
			balanceDue = now.Add(p.jittered(p.policy.BalanceEvery))
		}
		if asks.models {
			if wait = min(2*wait, most); news {
				wait = p.policy.Every
			}
			due = now.Add(wait - p.policy.Every/2) // turns are an Every apart, more or less
		}
	}
}

// asksFor says what a probe asks for.
type asksFor struct{ models, balance bool }

// restsByKey reports whether an endpoint rests because its key was rejected, or its account has
// no money.
func (p *prober) restsByKey(u *upstream, now time.Time) bool {
	for _, key := range []pauseKey{{endpoint: u.identity}, {account: u.payer}} {
		if rest, lasts := p.g.pauses.Get(key, now); lasts && isByKey(rest.Until.Sub(rest.Since)) {
			return true
		}
	}
	return false
}

// isByKey reports whether a pause of this length is one for a key or for money: what
// something in front of the host refused makes shorter ones.
func isByKey(length time.Duration) bool { return length > maxBlockedPause }

// probe asks for what is due, and tells of what is new. It reports whether something is.
func (p *prober) probe(ctx context.Context, u *upstream, asks asksFor) (news bool) {
	refusedBefore := u.health.Refusing()
	r, err := p.ask(ctx, u, asks)
	if ctx.Err() != nil || r == (health.Result{}) || errors.Is(err, outcome.ErrKeyFunc) || errors.Is(err, errProbePanicked) {
		return false // nothing is known of the host
	}
	now := time.Now()
	change := u.health.Note(now, r, u.wantedModels(), p.policy.LowBalance)
	// A list that anybody gets says nothing of the key.
	looksAtKeys := r.Funds != health.Unknown || u.profile.ModelsNeedKey && u.isOwn() || refusedBefore
	if r.Credential == health.Yes && looksAtKeys {
		p.end(pauseKey{endpoint: u.identity}, now)
	}
	if r.Funds == health.Yes {
		p.end(pauseKey{account: u.payer}, now)
	}
	if change.News {
		p.tell(ctx, u, KindHealth, err)
	}
	if change.Low {
		p.tell(ctx, u, KindBalance, nil)
	}
	return change.News || change.Low
}

// ask returns what the answers show, and why the host could not be reached.
func (p *prober) ask(ctx context.Context, u *upstream, asks asksFor) (r health.Result, err error) {
	if asks.models {
		status, body, err := p.get(ctx, u, u.modelsURL())
		if err != nil && status == 0 {
			return health.Result{Reachable: health.No}, err
		}
		r = resultOf(u, status, body)
	}
	if asks.balance && r.Credential != health.No {
		if status, body, err := p.get(ctx, u, u.balanceURL()); err == nil {
			r = withBalance(r, status, body)
		}
	}
	return r, nil
}

// end ends what a rejected key or an empty account has earned.
func (p *prober) end(key pauseKey, now time.Time) {
	if rest, lasts := p.g.pauses.Get(key, now); lasts && isByKey(rest.Until.Sub(rest.Since)) {
		p.g.pauses.Recover(key, now)
	}
}

func (p *prober) tell(ctx context.Context, u *upstream, kind Kind, err error) {
	e := Event{Kind: kind, Endpoint: u.Name, Health: p.g.health(u), Err: err}
	if err != nil {
		e.Class = ClassUnreachable
	}
	background.Recovered(func() { p.g.counters.observers.emit(ctx, e) })() // or one panic would end the process
}

// maxProbeBody is how much of the answer to a probe is read. A list of models has up to a few
// hundred KiB.
const maxProbeBody = 4 << 20

// get sends a GET with the endpoint's own key.
func (p *prober) get(ctx context.Context, u *upstream, url string) (status int, body []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, p.policy.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Accept", "application/json")
	func() {
		defer func() {
			if r := recover(); r != nil { // user code
				err = errProbePanicked
			}
		}()
		var resp *http.Response
		if resp, err = u.pass(req, p.g.belowFor(u.connections)); err != nil {
			err = outcome.Quiet(err)
			return
		}
		defer resp.Body.Close()
		status = resp.StatusCode
		body, err = io.ReadAll(io.LimitReader(resp.Body, maxProbeBody))
	}()
	return status, body, err
}

var errProbePanicked = errors.New("breakwater: a probe panicked in middleware, in Rewrite or in KeyFunc")

// resultOf returns what the answer to a GET of the models shows.
func resultOf(u *upstream, status int, body []byte) health.Result {
	r := health.Result{Reachable: health.Yes}
	switch {
	case status == http.StatusOK:
		if r.Models = health.ReadModels(body); r.Models != nil && u.keyed {
			r.Credential = health.Yes
		}
	case status == http.StatusUnauthorized, status == http.StatusForbidden && u.profile.NamesKey(status, body):
		if u.keyed {
			r.Credential = health.No
		}
	case status == http.StatusPaymentRequired:
		r.Funds = health.No
	case status >= 500:
		r.Reachable = health.No
	}
	return r
}

// withBalance adds what the answer to a GET of the balance shows.
func withBalance(r health.Result, status int, body []byte) health.Result {
	switch status {
	case http.StatusOK:
		if r.Funds, r.Balance = health.ReadBalance(body); r.Funds != health.Unknown {
			r.Reachable, r.Credential = health.Yes, health.Yes
		}
	case http.StatusUnauthorized:
		r.Reachable, r.Credential = health.Yes, health.No
	}
	return r
}

// isOwn reports whether the endpoint is at its host's own servers, and not at a gateway that
// speaks like it.
func (u *upstream) isOwn() bool { return u.profile.IsAt(u.base.Hostname()) }

// modelsURL returns where the endpoint lists its models.
func (u *upstream) modelsURL() string {
	if u.profile.ModelsPath != "" && u.isOwn() {
		return u.origin.URL().String() + u.profile.ModelsPath
	}
	return u.base.JoinPath("models").String()
}

// balanceURL returns where the host of the endpoint tells the balance.
func (u *upstream) balanceURL() string { return u.origin.URL().String() + u.profile.BalancePath }

// wantedModels returns the names under which the endpoint should serve models: those that it
// was given, and those that it was asked for.
func (u *upstream) wantedModels() []string {
	var wanted []string
	for _, name := range u.Models {
		wanted = append(wanted, name)
	}
	for _, c := range u.circuits.Status(time.Now()) {
		if c.Model != otherRequests && c.Model != "" {
			wanted = append(wanted, c.Model)
		}
	}
	return wanted
}

// health returns what probes have shown of an endpoint; nil: there are none.
func (g *generation) health(u *upstream) *HealthStatus {
	if g.config.probes == nil {
		return nil
	}
	s := u.keyState.health.Status()
	h := &HealthStatus{
		Checked: s.Checked, Reachable: Finding(s.Reachable), Credential: Finding(s.Credential), Funds: Finding(s.Funds),
		Missing: slices.Clone(s.Missing),
	}
	if s.Balance != nil {
		b := BalanceStatus(*s.Balance)
		h.Balance = &b
	}
	return h
}

// first returns how long the first probe waits, which is up to Every.
func (p *prober) first() time.Duration {
	if jitter := p.g.config.jitter; jitter != nil {
		return jitter(p.policy.Every)
	}
	return time.Duration(rand.Int64N(int64(p.policy.Every)))
}

// jittered returns d, a quarter more or less by chance.
func (p *prober) jittered(d time.Duration) time.Duration {
	if jitter := p.g.config.jitter; jitter != nil {
		return jitter(d)
	}
	return d - d/4 + time.Duration(rand.Int64N(int64(d/2)+1))
}

// sleepFor waits for d, and reports false if ctx ends first.
func sleepFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
