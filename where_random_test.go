package breakwater

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// A placedFleet is hosts in random tiers, with random tags and regions, and a Transport over
// them with everything on. It watches what each host is sent.
type placedFleet struct {
	t      *testing.T
	fleet  *kit.Fleet
	base   *http.Transport
	rt     *Transport
	client *http.Client
	places map[string][]string // of each host, its name, tags and region
	words  []string            // all of them
	opts   []Option
	sum    *placedTally

	mu    sync.Mutex
	marks map[string][][]string // of each prompt's mark, the lists of its calls; nil: they may go anywhere
	calls map[string]string     // of each call's id, where it may go
}

// A placedTally is what happened in all rounds.
type placedTally struct {
	restricted, free, whole, failed, refused, hedges, rescues, renewals, shared, hits, stale, elsewhere atomic.Int64
}

// allows reports whether what is within the lists may go to a host. It is written apart from
// the code that it is held against.
func (f *placedFleet) allows(lists [][]string, host string) bool {
	for _, list := range lists {
		found := false
		for _, word := range list {
			if !slices.Contains(f.words, word) {
				return false
			}
			for _, own := range f.places[host] {
				found = found || own == word
			}
		}
		if !found {
			return false
		}
	}
	return len(lists) == 0 || f.places[host] != nil
}

// reach returns the hosts that the lists allow, in words.
func (f *placedFleet) reach(lists [][]string) string {
	if len(lists) == 0 {
		return "any"
	}
	var names []string
	for name := range f.places {
		if f.allows(lists, name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return fmt.Sprint(names)
}

var placedMark = regexp.MustCompile(`mark-\d+`)

// check holds what a host is sent against the mark in it.
func (f *placedFleet) check(host, what, text string) {
	mark := placedMark.FindString(text)
	f.mu.Lock()
	lists, known := f.marks[mark]
	f.mu.Unlock()
	switch {
	case mark == "":
	case !known:
		f.t.Errorf("%s got an unknown mark: %s", host, mark)
	case !f.allows(lists, host):
		f.t.Errorf("%s got a prompt that may go to %s only: %s", host, f.reach(lists), what)
	case len(lists) > 0:
		f.sum.restricted.Add(1)
	default:
		f.sum.free.Add(1)
	}
}

// RoundTrip is the base: it looks at each request before it is sent.
func (f *placedFleet) RoundTrip(req *http.Request) (*http.Response, error) {
	var text []byte
	if req.Body != nil {
		text, _ = io.ReadAll(req.Body)
		req.Body.Close()
		req = req.WithContext(req.Context())
		req.Body = io.NopCloser(bytes.NewReader(text))
	}
	host, _, _ := strings.Cut(req.URL.Hostname(), ".")
	f.check(host, fmt.Sprint(req.Method, " ", req.URL, " ", req.Header), string(text)+req.URL.RawQuery)
	if c := callOptions(req.Context()); !f.allows(c.bounds, host) { // of prompts that several calls have
		f.t.Errorf("%s got a request with the context of a call that may go to %s only", host, f.reach(c.bounds))
	}
	return f.base.RoundTrip(req)
}

func (f *placedFleet) observe(ctx context.Context, e Event) {
	switch e.Kind {
	case KindHedge:
		f.sum.hedges.Add(1)
	case KindRescue:
		f.sum.rescues.Add(1)
	case KindCacheRenew:
		f.sum.renewals.Add(1)
	case KindCacheHit:
		f.sum.hits.Add(1)
	case KindCacheStale:
		f.sum.stale.Add(1)
	}
	if e.Call == "" {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	reach := f.reach(callOptions(ctx).bounds)
	f.calls[e.Call] = reach
	if e.Kind == KindCacheShared {
		f.sum.shared.Add(1)
		if by, ok := f.calls[e.From]; ok && by != reach {
			f.t.Errorf("a call that may go to %s shares an attempt that may go to %s", reach, by)
		}
	}
}

func newPlacedFleet(t *testing.T, random *rand.Rand, sum *placedTally) *placedFleet {
	kinds := []func(string) kit.Host{kit.DeepSeek, kit.DeepSeek, kit.VLLM, kit.OpenAI, kit.SiliconFlow, kit.OpenRouter}
	names := []string{"one", "two", "three", "four", "five"}[:2+random.IntN(4)]
	var hosts []kit.Host
	var profiles []Host
	for _, name := range names {
		kind := random.IntN(len(kinds))
		host := kinds[kind](name)
		host.Models, host.Pace = nil, kit.Pace{PerToken: time.Duration(random.IntN(80)) * time.Millisecond}
		hosts, profiles = append(hosts, host), append(profiles, []Host{HostDeepSeek, HostDeepSeek, HostVLLM, HostOpenAI, HostSiliconFlow, HostOpenRouter}[kind])
	}
	fleet, err := kit.NewPipeFleet(hosts...)
	if err != nil {
		t.Fatal(err)
	}
	f := &placedFleet{t: t, fleet: fleet, base: fleet.Transport(), sum: sum, places: map[string][]string{}, marks: map[string][][]string{}, calls: map[string]string{}}
	opts := []Option{steady(), WithBase(f), WithObserver(f.observe)}
	tiers := 1
	for i, name := range names {
		e := Endpoint{Name: name, URL: fleet.Server(name).URL(), APIKey: "sk-" + name, Host: profiles[i], Models: map[string]string{}}
		for _, tag := range []string{"own", "gpu", "cloud"} {
			if random.IntN(2) == 0 {
				e.Tags = append(e.Tags, tag)
			}
		}
		e.Region = []string{"", "eu", "us"}[random.IntN(3)]
		f.places[name] = append([]string{name}, e.Tags...)
		if e.Region != "" {
			f.places[name] = append(f.places[name], e.Region)
		}
		f.words = append(f.words, f.places[name]...)
		if i == 0 || random.IntN(2) == 0 && tiers == 1 {
			opts = append(opts, WithEndpoints(e))
			continue
		}
		tiers++
		opts = append(opts, WithBackup(e))
	}
	slices.Sort(f.words)
	f.words = slices.Compact(f.words)
	clocks := quick
	clocks.Hedge, clocks.HedgeBackup, clocks.RequireAnswer, clocks.KeepFlawed, clocks.Repetition = 300*time.Millisecond, true, true, random.IntN(2) == 0, 1024
	clocks.Rescue = []Rescue{RescueContinue, RescueRestart}[random.IntN(2)]
	cache := CachePolicy{TTL: time.Second, StaleWhileRevalidate: 4 * time.Second, StaleIfError: 10 * time.Second}
	if random.IntN(2) == 0 {
		cache.Store = &memoryStore{}
	}
	retry := RetryPolicy{Budget: 50, MinDelay: 10 * time.Millisecond, Patience: time.Duration(random.IntN(1000)-1) * time.Millisecond}
	if retry.Patience < 0 {
		retry.Patience = Off
	}
	if random.IntN(6) == 0 {
		retry.MaxReplay = 10 // every body is an upload
	}
	opts = append(opts, WithStream(clocks), WithCache(cache), WithRetry(retry), WithBalance(BalancePolicy{Affinity: 10, Shift: 0.9}),
		WithRateLimit(RatePolicy{InFlight: 2 + random.IntN(3), MaxWait: 300 * time.Millisecond, Spill: true, Adaptive: random.IntN(2) == 0}),
		WithBreaker(BreakerPolicy{Consecutive: 2, OpenFor: 700 * time.Millisecond, MaxOpenFor: 2 * time.Second}))
	if random.IntN(4) == 0 {
		opts = append(opts, WithErrors())
	}
	if random.IntN(2) == 0 {
		opts = append(opts, WithIdempotency(IdempotencyPolicy{}))
	}
	f.opts = opts
	if f.rt, err = New(opts...); err != nil {
		t.Fatal(err)
	}
	f.client = &http.Client{Transport: f.rt}
	return f
}

// restriction returns a context with random lists, and these.
func (f *placedFleet) restriction(ctx context.Context, random *rand.Rand) (context.Context, [][]string) {
	var lists [][]string
	for range []int{0, 1, 1, 1, 2}[random.IntN(5)] {
		var list []string
		for range 1 + random.IntN(2) {
			list = append(list, f.words[random.IntN(len(f.words))])
		}
		if random.IntN(20) == 0 {
			list = append(list, "nowhere")
		}
		ctx, lists = WithCall(ctx, Call{Endpoints: list}), append(lists, list)
	}
	return ctx, lists
}

// sickens gives the hosts random faults until the context ends. Now and then it updates the
// Transport, with another limit.
func (f *placedFleet) sickens(ctx context.Context, random *rand.Rand) {
	faults := append(lightFaults(), kit.Redirect("http://stranger.localhost/v1/chat/completions"), kit.Fault{}, kit.Fault{}, kit.Fault{})
	for _, s := range f.fleet.Servers() {
		faults = append(faults, kit.Redirect(s.URL()+"/chat/completions"), kit.Redirect(s.URL()+"/files"))
	}
	for ctx.Err() == nil {
		s := f.fleet.Servers()[random.IntN(len(f.fleet.Servers()))]
		switch random.IntN(5) {
		case 0:
			s.Break(faults[random.IntN(len(faults))])
		case 1:
			s.BreakNext(1+random.IntN(4), faults[random.IntN(len(faults))])
		case 2:
			if err := f.rt.Update(append(slices.Clip(f.opts), WithErrors(), func(c *config) error { c.rate.InFlight = 1 + random.IntN(4); return nil })...); err != nil {
				f.t.Error(err)
			}
		default:
			s.Heal()
		}
		elapse(time.Duration(random.IntN(600)) * time.Millisecond)
	}
}

// asks makes one call, or a request that is no inference.
func (f *placedFleet) asks(random *rand.Rand) {
	elapse(time.Duration(random.IntN(12_000)) * time.Millisecond)
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(1+random.IntN(20))*time.Second)
	defer cancel()
	ctx, lists := f.restriction(ctx, random)
	prompt := "a question of all"
	if random.IntN(3) > 0 { // of those who may go to the same places, and repeated by them
		f.mu.Lock()
		mark := ""
		for known, of := range f.marks {
			if f.reach(of) == f.reach(lists) && (mark == "" || known < mark) {
				mark = known
			}
		}
		if mark == "" || random.IntN(6) == 0 {
			mark = fmt.Sprint("mark-", 1000+len(f.marks))
			f.marks[mark] = lists
		}
		f.mu.Unlock()
		prompt = "question of " + mark + ": "
	}
	servers := f.fleet.Servers()
	server := servers[max(0, random.IntN(2*len(servers))-len(servers))]           // mostly the first
	wire := kit.Wires()[max(0, random.IntN(2*len(kit.Wires()))-len(kit.Wires()))] // mostly chats
	req, err := wire.Request(ctx, server.WireURL(wire), "sk-caller", testModel, prompt, random.IntN(2) == 0)
	if err != nil {
		f.t.Error(err)
		return
	}
	switch random.IntN(12) {
	case 0:
		req.Method, req.Body, req.GetBody, req.ContentLength = http.MethodGet, nil, nil, 0
		req.URL.RawQuery = "q=" + strings.ReplaceAll(strings.TrimSuffix(prompt, ": "), " ", "+")
		fallthrough
	case 1:
		req.URL.Path = strings.TrimSuffix(mustURL(f.t, server.URL()).Path, "/") + "/files"
	case 2:
		req.Header.Set("Content-Encoding", "zstd") // it is not, but nobody looks
	case 3:
		req.URL.Host = "stranger.localhost"
	}
	if random.IntN(6) == 0 {
		req.Header.Set("Idempotency-Key", fmt.Sprint("the same key ", prompt))
	}
	resp, err := f.client.Do(req)
	var failure *Error
	switch {
	case errors.As(err, &failure) && failure.Class == ClassUnserved:
		f.sum.refused.Add(1)
		return
	case err != nil:
		f.sum.failed.Add(1)
		return
	}
	defer resp.Body.Close()
	if by := resp.Header.Get(headerEndpoint); by != "" && !f.allows(lists, by) {
		f.t.Errorf("a call that may go to %s was answered by %s", f.reach(lists), by)
	}
	room := make([]byte, 200)
	for n := 0; err == nil; {
		if n, err = resp.Body.Read(room); n > 0 && random.IntN(60) == 0 {
			return
		}
	}
	switch {
	case errors.As(ErrorOf(resp), &failure) && failure.Class == ClassUnserved:
		f.sum.refused.Add(1)
	case err == io.EOF && resp.StatusCode == 200:
		f.sum.whole.Add(1)
	default:
		f.sum.failed.Add(1)
	}
	for _, a := range TrailOf(resp) {
		if !f.allows(lists, a.Endpoint) {
			f.t.Errorf("the trail of a call that may go to %s has %s", f.reach(lists), a.Endpoint)
		}
		if a.N > 0 && a.Endpoint != server.Name() && len(lists) > 0 {
			f.sum.elsewhere.Add(1)
		}
	}
}

// Whatever hosts do, whatever is switched on, and whatever a call asks for, no host outside
// of where it may go is sent its prompt. A round is the same again by its seed, but for who of
// several goroutines is first.
func TestWhere_AtRandom(t *testing.T) {
	var sum placedTally
	rounds := uint64(ifFull(150, 12))
	for seed := range rounds {
		bubble(t, fmt.Sprint("seed=", seed), func(t *testing.T) {
			random := rand.New(rand.NewPCG(seed, 22))
			f := newPlacedFleet(t, random, &sum)
			ctx, cancel := context.WithCancel(t.Context())
			var all, weather sync.WaitGroup
			weather.Go(func() { f.sickens(ctx, rand.New(rand.NewPCG(seed, 23))) })
			for i := range 120 {
				own := rand.New(rand.NewPCG(random.Uint64(), uint64(i)))
				all.Go(func() { f.asks(own) })
			}
			all.Wait()
			cancel()
			weather.Wait()
			f.rt.Close()
			synctest.Wait()
			for _, s := range f.fleet.Servers() { // what net/http sent again by itself, too
				for _, r := range s.Requests() {
					f.check(s.Name(), fmt.Sprint(r.Method, " ", r.Path, " ", r.Fault), string(r.Body)+r.RawQuery)
				}
			}
			f.base.CloseIdleConnections()
			f.fleet.Close()
		})
	}
	t.Logf("%d prompts of restricted calls were sent, %d of others; %d whole answers, %d failures, %d refusals, %d attempts at another endpoint than the URL's; %d hedges, %d rescues, %d renewals, %d shared, %d hits, %d stale",
		sum.restricted.Load(), sum.free.Load(), sum.whole.Load(), sum.failed.Load(), sum.refused.Load(), sum.elsewhere.Load(), sum.hedges.Load(), sum.rescues.Load(), sum.renewals.Load(), sum.shared.Load(), sum.hits.Load(), sum.stale.Load())
	for _, n := range []*atomic.Int64{&sum.restricted, &sum.free, &sum.whole, &sum.failed, &sum.refused, &sum.elsewhere, &sum.hedges, &sum.rescues, &sum.renewals, &sum.shared, &sum.hits, &sum.stale} {
		if n.Load() == 0 {
			t.Error("something did not happen: else little was tested")
		}
	}
}
