package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// A pace says how long the outage takes and how dense its load is.
type pace struct {
	phase time.Duration // of steady load; the last answers come later
	every time.Duration // one call of each contender
}

var ordinary = pace{phase: 3500 * time.Millisecond, every: 35 * time.Millisecond}

func (p pace) calls() int { return int(p.phase / p.every) }

// A phase is one stretch of the outage.
type phase struct {
	name   string
	play   func(*kit.Fleet)
	before func(fleet *kit.Fleet, call int) // what else happens before each call; nil: nothing
	dark   bool                             // no host can answer
}

// outage is what happens, from bad to worse. The backup can answer in all phases but the dark one.
var outage = []phase{
	{name: "all is well", play: heal},
	{name: "1 call in 10 gets a 503", play: heal, before: some(10, 5, kit.Busy())},
	{name: "1 stream in 2 breaks off", play: heal, before: some(4, 1, kit.EndStream(4))},
	{name: "primary queues for ever", play: breaks("primary", kit.QueueForever())},
	{name: "primary refuses", play: breaks("primary", kit.Refused())},
	{name: "primary: error in a 200", play: breaks("primary", kit.ErrorInside())},
	{name: "both hosts down", play: both(breaks("primary", kit.Refused()), breaks("backup", kit.HTMLError(502))), dark: true},
	{name: "all is well again", play: heal},
}

func heal(fleet *kit.Fleet) {
	for _, server := range fleet.Servers() {
		server.Heal()
	}
}

func breaks(name string, f kit.Fault) func(*kit.Fleet) {
	return func(fleet *kit.Fleet) { fleet.Server(name).Break(f) }
}

// some breaks one in so many requests to the primary. Calls with odd numbers ask
// for streams.
func some(in, at int, f kit.Fault) func(*kit.Fleet, int) {
	return func(fleet *kit.Fleet, call int) {
		if call%in == at {
			fleet.Server("primary").BreakNext(1, f)
		}
	}
}

func both(one, other func(*kit.Fleet)) func(*kit.Fleet) {
	return func(fleet *kit.Fleet) { one(fleet); other(fleet) }
}

// A viewer is shown what happens while it happens.
type viewer interface {
	phaseUnderWay(number int, left time.Duration, now [contenders]counts)
	phaseOver(number int, sums [contenders]*tally)
}

// playOutage puts the same load on all contenders, phase by phase, and returns
// the sums of all phases. Each phase waits for its last answers, so that it is
// known for every call who could have answered it.
func playOutage(ctx context.Context, p pace, start starter, view viewer) (all [contenders]*tally, err error) {
	var cs [contenders]*contender
	for i := range cs {
		if cs[i], err = newContender(i, start); err != nil {
			return all, err
		}
		defer cs[i].close()
		all[i] = new(tally)
	}
	for n, ph := range outage {
		for _, c := range cs {
			ph.play(c.fleet)
		}
		sums := playPhase(ctx, ph, p, cs, func(left time.Duration, now [contenders]counts) { view.phaseUnderWay(n, left, now) })
		if ctx.Err() != nil {
			return all, ctx.Err()
		}
		for i, c := range cs {
			if c.guard != nil {
				sums[i].opened = c.opened.take(c.guard.Status())
			}
			all[i].add(sums[i])
		}
		view.phaseOver(n, sums)
	}
	return all, nil
}

// playPhase has every contender ask the same questions at the same times, and
// returns once all are answered or given up.
func playPhase(ctx context.Context, ph phase, p pace, cs [contenders]*contender, progress func(time.Duration, [contenders]counts)) (sums [contenders]*tally) {
	for i := range sums {
		sums[i] = new(tally)
	}
	now := func() (c [contenders]counts) {
		for i, t := range sums {
			c[i] = t.counts()
		}
		return c
	}
	var calls sync.WaitGroup
	ticks := time.NewTicker(p.every)
	defer ticks.Stop()
	for i := 0; i < p.calls() && ctx.Err() == nil; i++ {
		prompt, stream := questionOf(ph, i), i%2 == 1
		for k, c := range cs {
			if ph.before != nil {
				ph.before(c.fleet, i)
			}
			calls.Go(func() { sums[k].note(c.load.ask(ctx, ph, prompt, stream)) })
		}
		progress(p.phase-time.Duration(i)*p.every, now())
		select {
		case <-ticks.C:
		case <-ctx.Done():
		}
	}
	over := make(chan struct{})
	go func() { calls.Wait(); close(over) }()
	for {
		select {
		case <-over:
			return sums
		case <-ticks.C:
			progress(0, now())
		}
	}
}

// judge returns an error unless breakwater gave no wrong answer, and answered,
// with its backup, every call that a host or the cache could answer.
func judge(all [contenders]*tally) error {
	guarded := all[withBackup]
	switch wrong := slices.Concat(all[oneHost].wrong, guarded.wrong); {
	case len(wrong) > 0:
		return fmt.Errorf("%d calls were answered wrongly: %w", len(wrong), wrong[0])
	case len(guarded.missed) > 0:
		return fmt.Errorf("%d calls were not answered, but could be: %w", len(guarded.missed), guarded.missed[0])
	case guarded.ok == 0:
		return fmt.Errorf("no call was answered")
	}
	return nil
}
