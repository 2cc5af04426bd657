// Package slo measures how well calls are answered, beside objectives: availability, the share
// of errors, and percentiles of latency, over the last 5 minutes, 1 hour, 6 hours and 30 days.
//
//	tracker, err := slo.New(slo.Objectives{})
//	…
//	client, err := breakwater.NewClient(breakwater.WithObserver(tracker.Observe), …)
//	…
//	tracker.Report().WriteText(os.Stdout)
//
// The terms are those of the SRE workbook (https://sre.google/workbook/alerting-on-slos/): an
// objective of 99.95 % leaves an error budget of 0.05 %. A burn rate of 1 spends the budget of 30
// days in 30 days.
//
// A call counts when it is over: a stream that breaks behind its first token has failed. The
// caller's own mistakes and cancels count for nothing, and are counted apart.
package slo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/histogram"
)

// Objectives are what a service promises.
type Objectives struct {
	// Availability is the share of calls over 30 days that are answered in full. Default: 0.9995.
	Availability float64 `json:"availability"`

	// ErrorShare is the share of calls that may fail in each window. Default: 0.001.
	ErrorShare float64 `json:"error_share"`

	// FirstPayload is what 99 % of the answers do not exceed from the call to their first
	// payload, and Whole the same to their end. 0: no objective.
	FirstPayload time.Duration `json:"-"`
	Whole        time.Duration `json:"-"`
}

// maxEndpoints bounds the endpoints that are counted one by one. What ends at others is
// counted together, as Other. Without configured endpoints, callers choose the names.
const maxEndpoints = 100

// Resolution is the largest error of a percentile, as a share of its value. Below 1 ms the error
// is at most 1 ms.
const Resolution = histogram.Resolution

// Other is the endpoint of a Report that stands for all those beyond the first 100.
const Other = "other"

// A Tracker counts how calls and attempts end. Make one with [New]. It is safe for concurrent
// use. Its memory is bounded: at most 0.8 MB for all calls and for each endpoint.
type Tracker struct {
	objectives Objectives
	since      time.Time

	mu        sync.Mutex // guards what follows
	calls     series
	endpoints map[string]*series
}

// New returns a Tracker. It reports objectives that cannot be meant.
func New(o Objectives) (*Tracker, error) {
	o.Availability = cmp.Or(o.Availability, 0.9995)
	o.ErrorShare = cmp.Or(o.ErrorShare, 0.001)
	var mistakes []error
	for name, share := range map[string]float64{"Availability": o.Availability, "ErrorShare": o.ErrorShare} {
		if !(share > 0 && share < 1) {
			mistakes = append(mistakes, fmt.Errorf("slo: Objectives.%s: %v is no share: it must be above 0 and below 1, such as 0.9995 for 99.95 %%", name, share))
		}
	}
	for name, d := range map[string]time.Duration{"FirstPayload": o.FirstPayload, "Whole": o.Whole} {
		if d < 0 || d > 0 && d < time.Millisecond {
			mistakes = append(mistakes, fmt.Errorf("slo: Objectives.%s: %v must be at least 1ms, or 0 for none", name, d))
		}
	}
	if len(mistakes) > 0 {
		return nil, errors.Join(mistakes...)
	}
	return &Tracker{objectives: o, since: time.Now(), endpoints: make(map[string]*series)}, nil
}

// Observe is a [breakwater.Observer].
func (t *Tracker) Observe(_ context.Context, e breakwater.Event) {
	switch e.Kind {
	case breakwater.KindEnd:
		t.mu.Lock()
		defer t.mu.Unlock()
		if v := verdictOf(e); v != answered {
			t.calls.end(e.Time, v, 0)
		} else {
			t.calls.begin(e.Time, e.FirstToken)
			t.calls.end(e.Time, v, e.Elapsed)
		}
	case breakwater.KindAttempt:
		if e.Attempt == 0 { // it was not sent
			return
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		s := t.endpoint(e.Endpoint)
		if e.FirstToken > 0 {
			s.begin(e.Time, e.FirstToken)
		}
		s.end(e.Time, verdictOf(e), e.Elapsed)
	}
}

// verdictOf returns what a call or an attempt that ended counts as.
func verdictOf(e breakwater.Event) verdict {
	switch e.Fault {
	case "":
		return answered
	case breakwater.FaultCaller:
		switch e.Class {
		case breakwater.ClassCanceled, breakwater.ClassDeadline:
			return canceled
		}
		return mistaken
	}
	return failed
}

// endpoint returns the series of an endpoint.
func (t *Tracker) endpoint(name string) *series {
	s := t.endpoints[name]
	if s == nil && len(t.endpoints) >= maxEndpoints {
		name = Other
		s = t.endpoints[name]
	}
	if s == nil {
		s = new(series)
		t.endpoints[name] = s
	}
	return s
}

// Report returns how well calls were answered until now.
func (t *Tracker) Report() Report {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	r := Report{Time: now, Since: t.since, Objectives: t.objectives, Windows: t.windows(&t.calls, now)}
	r.Budget = t.budget(r.Windows[len(r.Windows)-1])
	for _, name := range slices.Sorted(maps.Keys(t.endpoints)) {
		r.Endpoints = append(r.Endpoints, EndpointReport{Endpoint: name, Windows: t.windows(t.endpoints[name], now)})
	}
	return r
}

// windows returns all windows of a series.
func (t *Tracker) windows(s *series, now time.Time) []Window {
	var all []Window
	for ring := range resolutions {
		w := s.window(ring, now)
		w.BurnRate = w.ErrorShare() / (1 - t.objectives.Availability)
		all = append(all, w)
	}
	return all
}

// budget returns what is left of the error budget of 30 days.
func (t *Tracker) budget(month Window) Budget {
	spent := month.ErrorShare() / (1 - t.objectives.Availability)
	whole := (1 - t.objectives.Availability) * float64(month.Length)
	return Budget{Spent: spent, Left: time.Duration((1 - spent) * whole)}
}
