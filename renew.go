package breakwater

import (
	"context"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater/internal/circuit"
)

// This file is how the cache asks for answers anew behind its callers' backs.

const (
	maxRenewals = 16               // under way at once
	renewWait   = 15 * time.Minute // for one of them: DeepSeek may queue a call for 10

	// A renewal that shows nothing lets another look after so long whether an
	// endpoint is back; and the next one after twice that, up to the most.
	firstLook = circuit.ProbeGrace
	maxLook   = 30 * time.Second
)

// renew asks for the answer anew behind the caller's back, unless that is
// being done already. Close ends it.
func (k *cache) renew(c *call, next http.RoundTripper) {
	k.mu.Lock()
	defer k.mu.Unlock()
	form, now := c.format(), time.Now()
	underWay := func(f *flight) bool { return f.form == form && !f.closed && f.quiet(now) < f.patience() }
	if k.renewals >= maxRenewals || slices.ContainsFunc(k.flightsLocked(c.sought.key), underWay) {
		return
	}
	if f := k.renewLocked(c, next); f != nil {
		k.listLocked(f)
	}
}

// probe renews to see whether an endpoint is back. One call does that for all,
// and those who have a kept answer leave it to that one; it is made anew where
// the last one hangs.
func (k *cache) probe(c *call, next http.RoundTripper) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := time.Now()
	wait := k.lookIn
	if k.probing == nil || k.probing.isAnswered() {
		wait, k.lookIn = circuit.ForcedEvery, firstLook
	}
	if now.Sub(k.probed) < wait || k.renewals >= maxRenewals {
		return
	}
	if k.probing != nil && !k.probing.isAnswered() {
		k.lookIn = min(2*k.lookIn, maxLook)
	}
	if f := k.renewLocked(c, next); f != nil {
		k.probing, k.probed = f, now
	}
}

// renewLocked begins a renewal, if it is not too late for that.
func (k *cache) renewLocked(c *call, next http.RoundTripper) *flight {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.Context), renewWait)
	again := c.inName(ctx)
	again.log, again.start, again.fallback = &again.own, time.Now(), false
	f := k.newFlight(again, again.until(), true)
	begun := k.t.background.Go(func(closed context.Context) {
		defer context.AfterFunc(closed, cancel)()
		defer cancel()
		defer f.ground()
		// What shows nothing gives its place among the renewals up first, and then itself.
		over := sync.OnceFunc(k.renewed)
		defer over()
		defer time.AfterFunc(maxLook, over).Stop()
		p := &passage{cache: k, call: again, gives: true, late: time.NewTimer(f.patience())}
		defer p.leave()
		p.in = append(p.in, f.leader)
		p.watch()
		k.t.config.observers.emit(again, Event{Kind: KindCacheRenew, Model: c.params.Model})
		go f.fly(next)
		if resp, err, ok := p.await(); ok && err == nil {
			io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
	})
	if !begun {
		cancel()
		return nil
	}
	k.renewals++
	return f
}

// renewed gives a renewal's place to another.
func (k *cache) renewed() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.renewals--
}
