package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// A moody vault gives the current key of one server, which it changes. While it is in a bad
// mood, its function fails in every way.
type moodyVault struct {
	server *kit.Server
	name   string
	calm   bool

	mu      sync.Mutex
	random  *rand.Rand
	version int
}

func (v *moodyVault) roll(n int) int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.random.IntN(n)
}

// rotate changes the key. The old one ends at once, so calls under way are refused.
func (v *moodyVault) rotate() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.version++
	v.server.SetKeys(v.keyLocked())
}

func (v *moodyVault) keyLocked() string { return fmt.Sprintf("sk-%s-%d-5ec4e7", v.name, v.version) }

func (v *moodyVault) key(ctx context.Context, rejected string) (string, error) {
	if !v.calm {
		switch v.roll(20) {
		case 0:
			panic("5ec4e7")
		case 1:
			return "", errSealed
		case 2:
			<-ctx.Done()
			return "", ctx.Err()
		case 3:
			time.Sleep(time.Duration(v.roll(30)) * time.Second) // heeds nothing
		case 4:
			return "5ec4e7\r\nX-Evil: 1", nil
		case 5:
			return rejected, nil
		}
	}
	time.Sleep(time.Duration(v.roll(50)) * time.Millisecond)
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.keyLocked(), nil
}

// However keys change and functions fail, while calls of all kinds run at once: each call
// ends in the right answer or in a typed error, no key goes where it does not belong, a call
// gets one attempt with a new key per account, and nothing is left. Where the functions do
// not fail, no endpoint ever rests.
func TestKeyFunc_WhateverHappens(t *testing.T) {
	seeds := 40
	if testing.Short() {
		seeds = 6
	}
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { rotateUnderLoad(t, seed) })
		})
	}
}

func rotateUnderLoad(t *testing.T, seed uint64) {
	random := rand.New(rand.NewPCG(seed, 22))
	fleet, err := kit.NewPipeFleet(fleetOf()...)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var told strings.Builder
	rests := 0
	note := func(_ context.Context, e Event) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintf(&told, "%+v %v\n", e, e.Err)
		if e.Kind == KindKey && e.Wait > 0 {
			rests++
		}
	}
	var vaults []*moodyVault
	opts := []Option{steady(), WithBase(fleet.Transport()), WithObserver(note)}
	for _, name := range []string{"primary", "second"} {
		v := &moodyVault{server: fleet.Server(name), name: name, calm: seed%2 == 0, random: rand.New(rand.NewPCG(seed, 23))}
		v.rotate()
		v.server.SetPace(kit.Pace{Queue: 200 * time.Millisecond, PerToken: 5 * time.Millisecond})
		vaults = append(vaults, v)
		opts = append(opts, WithEndpoints(Endpoint{Name: name, URL: fleet.Server(name).URL(), Host: HostDeepSeek, KeyFunc: v.key}))
	}
	backup := fleet.Server("backup")
	opts = append(opts, WithBackup(Endpoint{Name: "backup", URL: backup.URL(), APIKey: "sk-backup", Models: map[string]string{testModel: backupModel}}))
	if random.IntN(2) == 0 {
		opts = append(opts, WithStream(StreamPolicy{Hedge: 100 * time.Millisecond}))
	}
	if random.IntN(2) == 0 {
		opts = append(opts, WithCache(CachePolicy{TTL: time.Second, StaleWhileRevalidate: 10 * time.Second}))
	}
	rt, err := New(opts...)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 150 {
		at, what, left, prompt := random.IntN(60_000), random.IntN(6), random.IntN(20_000), fmt.Sprint("q", random.IntN(40))
		all.Go(func() {
			time.Sleep(time.Duration(at) * time.Millisecond)
			ctx := context.Background()
			if i%3 == 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, time.Duration(left)*time.Millisecond)
				defer cancel()
			}
			askInRotation(t, ctx, rt, fleet.Servers()[i%2], what, prompt)
		})
	}
	for i := range 12 { // each key is good for longer than a call takes: of two that change in one call, the second refusal counts
		v, after := vaults[i%2], i*5000+random.IntN(2500)
		all.Go(func() {
			time.Sleep(time.Duration(after) * time.Millisecond)
			v.rotate()
		})
	}
	all.Wait()
	rt.Close()
	time.Sleep(time.Minute) // functions that heed nothing return
	for _, s := range fleet.Servers() {
		for _, req := range s.Requests() {
			if !strings.HasPrefix(req.Key, "sk-"+s.Name()) || req.Header.Get("X-Evil") != "" {
				t.Errorf("%s got the key %q", s.Name(), req.Key)
			}
		}
	}
	mu.Lock() // the end of a renewal may have been told just now
	text, rested := told.String(), rests
	mu.Unlock()
	if strings.Contains(text, "5ec4e7") || strings.Contains(text, "sk-") {
		t.Errorf("a key is told: %s", text)
	}
	if seed%2 == 0 && rested > 0 {
		t.Errorf("endpoints rested %d times", rested)
	}
	rt.CloseIdleConnections()
	fleet.Close()
}

// askInRotation makes one request and checks how it ends.
func askInRotation(t *testing.T, ctx context.Context, rt *Transport, server *kit.Server, what int, prompt string) {
	trail := &Trail{}
	ctx = WithCall(ctx, Call{Trail: trail})
	defer func() {
		again := make(map[string]int)
		for _, a := range trail.Attempts() {
			if a.Class == ClassKeyRejected && a.Verdict == VerdictAgain {
				again[a.Endpoint]++
			}
		}
		for name, n := range again {
			if n > 1 {
				t.Errorf("%s got a new key %d times in one call: %+v", name, n, trail.Attempts())
			}
		}
	}()
	isDone := func(err error) bool {
		return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrKeyFunc)
	}
	if what < 2 { // no inference
		method := []string{http.MethodGet, http.MethodPut}[what]
		req, err := http.NewRequestWithContext(ctx, method, server.URL()+"/models", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer sk-caller")
		resp, err := rt.RoundTrip(req)
		if err != nil {
			if !isDone(err) {
				t.Errorf("%s: %v", method, err)
			}
			return
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		return
	}
	req, err := kit.Wires()[what%len(kit.Wires())].Request(ctx, server.WireURL(kit.Wires()[what%len(kit.Wires())]), "sk-caller", testModel, prompt, what%2 == 0)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		if !isDone(err) {
			t.Errorf("%s: %v", prompt, err)
		}
		return
	}
	status, failure := resp.StatusCode, ErrorOf(resp)
	reply, err := kit.ReadAnswer(resp)
	switch {
	case status == http.StatusOK && err == nil && reply.Content == kit.Answer(prompt):
	case status == http.StatusOK && (errors.Is(err, context.DeadlineExceeded) || err != nil && ctx.Err() != nil):
	case status != http.StatusOK && (failure != nil || status == http.StatusUnauthorized):
	default:
		t.Errorf("%s: %d %q, %v", prompt, status, reply.Content, err)
	}
}
