package statuspage

import (
	"cmp"
	"maps"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/internal/histogram"
	"github.com/breakwater-go/breakwater/slo"
)

// A State says how a service or an endpoint does.
type State string

const (
	StateOK       State = "ok"       // calls are answered, and all endpoints are well. An endpoint: its last attempt was answered
	StateDegraded State = "degraded" // calls are answered, but in the last 5 minutes some failed, or not all endpoints are well. An endpoint: one model's circuit is open while others answer, or its last attempt failed, not more than 5 minutes ago
	StateDown     State = "down"     // the last 3 calls failed, or all of the last 5 minutes. An endpoint: its circuit is open and nothing was answered since, or its key was rejected and is not tried again yet
	StatePaused   State = "paused"   // an endpoint: its host asked for a pause
	StateIdle     State = "idle"     // there was no call in the last 5 minutes. An endpoint: nothing is known of it, or it last failed more than 5 minutes ago
)

// A Snapshot is what the page shows. Times are in UTC, and left out where there is none; durations
// are in seconds.
type Snapshot struct {
	Time     time.Time `json:"time"`
	State    State     `json:"state"`
	Observed bool      `json:"observed"` // an event has come. Without, only circuits, pauses, limits and the cache are known
	Started  time.Time `json:"started"`
	Uptime   float64   `json:"uptime_seconds"`
	Build    Build     `json:"build"`

	Recent    Recent       `json:"last_5_minutes"`
	Hour      Hour         `json:"last_hour"`
	Totals    Totals       `json:"totals"`
	Endpoints []Endpoint   `json:"endpoints"`
	Failovers []Call       `json:"failovers"` // the last 20 calls that were answered by another endpoint, a continued stream or a stale answer; the latest first
	Failures  []Call       `json:"failures"`  // the last 20 calls that failed by the fault of a host, the network or this program; the latest first
	Cache     Cache        `json:"cache"`
	SLO       []slo.Report `json:"slo"`
}

// A Build says what runs.
type Build struct {
	Module     string `json:"module"`
	Version    string `json:"version"`
	Revision   string `json:"revision,omitempty"`
	Modified   bool   `json:"modified,omitempty"`
	Breakwater string `json:"breakwater"`
	Go         string `json:"go"`
}

// Recent are the calls of the last 5 minutes, the present one included.
type Recent struct {
	Answered uint64  `json:"answered"`
	Failed   uint64  `json:"failed"`   // by the fault of a host, the network or this program
	Mistaken uint64  `json:"mistaken"` // by the caller's own mistake
	Canceled uint64  `json:"canceled"` // left by the caller
	ServedBy []Share `json:"served_by"`
}

// A Share is how many calls an endpoint or the cache answered.
type Share struct {
	Part     string `json:"part,omitempty"` // see [Page.Part]
	Endpoint string `json:"endpoint"`
	Answered uint64 `json:"answered"`
}

// An Hour is the last 60 minutes, the present one included.
type Hour struct {
	Answered   uint64       `json:"answered"`
	Failed     uint64       `json:"failed"`
	FirstToken *Percentiles `json:"first_token_seconds,omitempty"`
	Minutes    []Minute     `json:"minutes"` // the present one is the last
}

// A Minute is one of the last 60.
type Minute struct {
	Start      time.Time    `json:"start"`
	Answered   uint64       `json:"answered"`
	Failed     uint64       `json:"failed"`
	FirstToken *Percentiles `json:"first_token_seconds,omitempty"`
}

// Percentiles are of the time from a call to the first payload of its answer.
type Percentiles struct {
	P50 float64 `json:"p50"`
	P95 float64 `json:"p95"`
	P99 float64 `json:"p99"`
}

// Totals are the counts of [breakwater.Status].
type Totals struct {
	Calls    int64                        `json:"calls"`
	UnderWay int64                        `json:"under_way"`
	Failed   int64                        `json:"failed"`
	Attempts int64                        `json:"attempts"`
	Passed   int64                        `json:"passed"`
	Outcomes map[breakwater.Outcome]int64 `json:"outcomes"`
}

// An Endpoint is the state of one endpoint.
type Endpoint struct {
	Part       string    `json:"part,omitempty"` // see [Page.Part]
	Name       string    `json:"name"`
	Tier       int       `json:"tier"`
	State      State     `json:"state"`
	Since      time.Time `json:"since,omitzero"`   // of the first failure behind the last answer, or when the circuit opened
	Reason     string    `json:"reason,omitempty"` // the class of the last failure, while the endpoint is not well
	Status     int       `json:"status,omitempty"` // the HTTP status of it
	Failures   int       `json:"failures"`         // attempts that failed since the last answer
	LastAnswer time.Time `json:"last_answer,omitzero"`
	Circuits   []Circuit `json:"circuits"`
	Pauses     []Pause   `json:"pauses"`
	Limits     []Limit   `json:"limits"`
	Cost       *Cost     `json:"cost,omitempty"`   // nil: no price is known
	Health     *Health   `json:"health,omitempty"` // nil: there are no probes
}

// A Health is what probes have shown of an endpoint: see [breakwater.HealthStatus].
type Health struct {
	Checked    time.Time          `json:"checked,omitzero"`
	Reachable  breakwater.Finding `json:"reachable,omitempty"` // yes or no; empty: not known
	Credential breakwater.Finding `json:"credential,omitempty"`
	Funds      breakwater.Finding `json:"funds,omitempty"`
	Missing    []string           `json:"missing,omitempty"` // models that the host does not list
	Balance    *Balance           `json:"balance,omitempty"` // nil: not known
}

// A Balance is the money of an endpoint's account.
type Balance struct {
	Amount   float64   `json:"amount"`
	Currency string    `json:"currency"`
	At       time.Time `json:"at,omitzero"`
	Left     float64   `json:"left_seconds,omitempty"` // how long it lasts at the pace of the last day; 0: not known
}

// A Cost is what the attempts at an endpoint have cost: see [breakwater.CostStatus].
type Cost struct {
	Amount    float64 `json:"amount"`
	Estimated float64 `json:"estimated"` // a part of Amount
	Unknown   int64   `json:"unknown"`   // attempts whose cost is not known
	Currency  string  `json:"currency"`
}

// A Circuit is that of one model. The model is GET for GETs and HEADs.
type Circuit struct {
	Model string    `json:"model"`
	State string    `json:"state"` // closed, half-open or open
	Since time.Time `json:"since,omitzero"`
	Until time.Time `json:"until,omitzero"` // when it may be probed
}

// A Pause is one that the host asked for, or has earned. The model is empty for all models.
type Pause struct {
	Model string    `json:"model"`
	Until time.Time `json:"until,omitzero"`
}

// A Limit is what one model's limits hold.
type Limit struct {
	Model    string `json:"model"`
	InFlight int    `json:"in_flight"`
	Waiting  int    `json:"waiting"`
}

// A Cache is the state of the cache.
type Cache struct {
	Entries   int   `json:"entries"`
	Bytes     int64 `json:"bytes"`
	Hits      int64 `json:"hits"`
	Stale     int64 `json:"stale"`
	Shared    int64 `json:"shared"`
	Misses    int64 `json:"misses"`
	Stores    int64 `json:"stores"`
	Evictions int64 `json:"evictions"`
}

// A Call is one of the lists of failovers and failures.
type Call struct {
	Part     string    `json:"part,omitempty"` // see [Page.Part]
	Time     time.Time `json:"time"`           // of its end
	ID       string    `json:"id"`             // the same as in the log
	Outcome  string    `json:"outcome"`
	Fault    string    `json:"fault,omitempty"`
	Endpoint string    `json:"endpoint"`
	Model    string    `json:"model"`
	Status   int       `json:"status,omitempty"`
	Elapsed  float64   `json:"elapsed_seconds"`
	Trail    []Step    `json:"trail"`
	Left     int       `json:"trail_left_out,omitempty"` // attempts beyond the first 32
}

// A Step is an attempt, or an endpoint that was passed over: then Attempt is 0, and Reason says why.
type Step struct {
	Attempt    int       `json:"attempt"`
	Endpoint   string    `json:"endpoint"`
	Model      string    `json:"model"`
	Class      string    `json:"class,omitempty"`
	Verdict    string    `json:"verdict,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	Status     int       `json:"status,omitempty"`
	Time       time.Time `json:"time"` // of its beginning
	Elapsed    float64   `json:"elapsed_seconds"`
	FirstToken float64   `json:"first_token_seconds,omitempty"`
}

// Snapshot returns what the page shows now.
func (p *Page) Snapshot() Snapshot {
	now := time.Now()
	p.mu.Lock()
	watched, trackers := slices.Clone(p.watched), slices.Clone(p.trackers)
	p.mu.Unlock()
	s := Snapshot{
		Time: stamp(now), Started: stamp(p.started), Uptime: now.Sub(p.started).Truncate(time.Second).Seconds(), Build: build(),
		Totals:    Totals{Outcomes: make(map[breakwater.Outcome]int64)},
		Endpoints: []Endpoint{}, SLO: []slo.Report{},
	}
	for _, tracker := range trackers { // they and Transports have locks of their own
		s.SLO = append(s.SLO, reportOf(tracker))
	}
	statuses := make([]breakwater.Status, 0, len(watched))
	for _, w := range watched {
		statuses = append(statuses, w.transport.Status())
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, status := range statuses {
		s.add(status)
		for _, e := range status.Endpoints {
			s.Endpoints = append(s.Endpoints, p.endpointOf(watched[i].part, e, now))
		}
	}
	s.Observed = p.observed
	p.count(&s, now)
	s.Failovers, s.Failures = calls(p.failovers), calls(p.failures)
	s.State = p.state(&s)
	return s
}

// add adds the counts of one Transport.
func (s *Snapshot) add(status breakwater.Status) {
	s.Totals.Calls += status.Calls
	s.Totals.UnderWay += status.Calls
	s.Totals.Failed += status.Failed
	s.Totals.Attempts += status.Attempts
	s.Totals.Passed += status.Passed
	for outcome, n := range status.Outcomes {
		s.Totals.Outcomes[outcome] += n
		s.Totals.UnderWay -= n
	}
	s.Totals.UnderWay = max(s.Totals.UnderWay, 0)
	c, d := &s.Cache, status.Cache
	c.Entries += d.Entries
	c.Bytes += d.Bytes
	c.Hits += d.Hits
	c.Stale += d.Stale
	c.Shared += d.Shared
	c.Misses += d.Misses
	c.Stores += d.Stores
	c.Evictions += d.Evictions
}

// endpointOf returns the state of an endpoint. The caller holds mu.
func (p *Page) endpointOf(part string, e breakwater.EndpointStatus, now time.Time) Endpoint {
	at := place{part, short(e.Name)}
	r := Endpoint{Part: clean(part), Name: clean(at.endpoint), Tier: e.Tier, State: StateIdle, Circuits: []Circuit{}, Pauses: []Pause{}, Limits: []Limit{}}
	h := p.endpoints[at]
	if h == nil {
		h = new(health)
	}
	open, opened := r.addCircuits(e.Circuits, func(model string) time.Time { return p.circuits[circuitOf{at, short(model)}] })
	for _, x := range e.Pauses {
		if x.Until.After(now) {
			r.Pauses = append(r.Pauses, Pause{clean(x.Model), stamp(x.Until)})
		}
	}
	if e.Cost.Currency != "" {
		r.Cost = &Cost{e.Cost.Amount, e.Cost.Estimated, e.Cost.Unknown, e.Cost.Currency}
	}
	r.Health = healthOf(e.Health)
	for _, x := range e.Limits {
		r.Limits = append(r.Limits, Limit{clean(x.Model), x.InFlight, x.Waiting})
	}
	rejected := h.rejected.class != "" && now.Before(h.rejected.until)
	switch {
	case rejected, open && !h.lastAnswer.After(opened):
		r.State = StateDown
	case open:
		r.State = StateDegraded
	case len(r.Pauses) > 0:
		r.State = StatePaused
	case h.failed > 0 && now.Sub(h.last.time) < recent:
		r.State = StateDegraded
	case h.failed == 0 && !h.lastAnswer.IsZero():
		r.State = StateOK
	}
	r.LastAnswer, r.Failures = stamp(h.lastAnswer), h.failed
	if r.State == StateOK || r.State == StateIdle {
		return r
	}
	last, since := h.last, opened
	if rejected {
		last, since = h.rejected.failure, h.rejected.time
	}
	if !h.since.IsZero() {
		since = h.since
	}
	r.Reason, r.Status, r.Since = string(last.class), last.status, stamp(since)
	return r
}

// maxMissing is how many models that are missing are shown.
const maxMissing = 20

func healthOf(h *breakwater.HealthStatus) *Health {
	if h == nil || h.Checked.IsZero() {
		return nil
	}
	r := &Health{Checked: stamp(h.Checked), Reachable: h.Reachable, Credential: h.Credential, Funds: h.Funds}
	for _, model := range h.Missing[:min(len(h.Missing), maxMissing)] {
		r.Missing = append(r.Missing, clean(model))
	}
	if b := h.Balance; b != nil {
		r.Balance = &Balance{b.Amount, clean(b.Currency), stamp(b.At), b.Left.Seconds()}
	}
	return r
}

// addCircuits adds the circuits, and returns whether one of them is not closed, and since when;
// zero if that is not known.
func (r *Endpoint) addCircuits(circuits []breakwater.CircuitStatus, since func(model string) time.Time) (open bool, opened time.Time) {
	for _, c := range circuits {
		circuit := Circuit{Model: clean(c.Model), State: c.State, Until: stamp(c.Until)}
		if c.State != "closed" {
			at := since(c.Model)
			circuit.Since = stamp(at)
			if opened.IsZero() || !at.IsZero() && at.Before(opened) {
				opened = at
			}
			open = true
		}
		r.Circuits = append(r.Circuits, circuit)
	}
	return open, opened
}

// count counts the calls of the last minutes. The caller holds mu.
func (p *Page) count(s *Snapshot, now time.Time) {
	present := now.Unix() / 60
	var hour histogram.Sum
	s.Hour.Minutes = make([]Minute, 0, minutes)
	for number := present - minutes + 1; number <= present; number++ {
		m := Minute{Start: time.Unix(number*60, 0).UTC()}
		if at := &p.minutes[((number%minutes)+minutes)%minutes]; at.number == number {
			m.Answered, m.Failed = at.ends.answered, at.ends.failed
			var sum histogram.Sum
			sum.Add(at.firstToken)
			hour.Add(at.firstToken)
			m.FirstToken = percentilesOf(&sum)
			if number > present-recentMinutes {
				s.Recent.Answered += at.ends.answered
				s.Recent.Failed += at.ends.failed
				s.Recent.Mistaken += at.ends.mistaken
				s.Recent.Canceled += at.ends.canceled
			}
		}
		s.Hour.Answered += m.Answered
		s.Hour.Failed += m.Failed
		s.Hour.Minutes = append(s.Hour.Minutes, m)
	}
	s.Hour.FirstToken = percentilesOf(&hour)
	s.Recent.ServedBy = []Share{}
	for _, at := range slices.SortedFunc(maps.Keys(p.endpoints), place.compare) {
		n := uint64(0)
		for _, slot := range p.endpoints[at].minutes {
			if slot.number > present-recentMinutes && slot.number <= present {
				n += slot.served
			}
		}
		if n > 0 {
			s.Recent.ServedBy = append(s.Recent.ServedBy, Share{clean(at.part), clean(at.endpoint), n})
		}
	}
	slices.SortStableFunc(s.Recent.ServedBy, func(a, b Share) int { return cmp.Compare(b.Answered, a.Answered) })
}

// state says how the service does. The caller holds mu.
func (p *Page) state(s *Snapshot) State {
	answered, failed := s.Recent.Answered, s.Recent.Failed
	switch {
	case failed > 0 && (p.streak >= 3 || answered == 0):
		return StateDown
	case failed > 0, slices.ContainsFunc(s.Endpoints, func(e Endpoint) bool { return e.State != StateOK && e.State != StateIdle }):
		return StateDegraded
	case answered == 0:
		return StateIdle
	}
	return StateOK
}

// percentilesOf returns nil if there are no durations.
func percentilesOf(s *histogram.Sum) *Percentiles {
	p := Percentiles{s.Percentile(0.50).Seconds(), s.Percentile(0.95).Seconds(), s.Percentile(0.99).Seconds()}
	if p == (Percentiles{}) {
		return nil
	}
	return &p
}

// calls returns a list with names that are safe to show, the latest first.
func calls(all []Call) []Call {
	list := make([]Call, 0, len(all))
	for _, c := range slices.Backward(all) {
		c.Time, c.Part, c.ID, c.Endpoint, c.Model = stamp(c.Time), clean(c.Part), clean(c.ID), clean(c.Endpoint), clean(c.Model)
		c.Trail = slices.Clone(c.Trail)
		for i := range c.Trail {
			step := &c.Trail[i]
			step.Time, step.Endpoint, step.Model = stamp(step.Time), clean(step.Endpoint), clean(step.Model)
		}
		list = append(list, c)
	}
	return list
}

// reportOf returns a report with names that are safe to show.
func reportOf(t *slo.Tracker) slo.Report {
	r := t.Report()
	r.Time, r.Since = stamp(r.Time), stamp(r.Since)
	for i := range r.Endpoints {
		r.Endpoints[i].Endpoint = clean(short(r.Endpoints[i].Endpoint))
	}
	return r
}

// stamp returns a time as the page shows it.
func stamp(t time.Time) time.Time {
	if t.IsZero() {
		return time.Time{}
	}
	return t.UTC().Truncate(time.Millisecond)
}

// clean returns a name that changes nothing around it: what cannot be seen, or changes the
// direction of text, is replaced. Without configured endpoints, callers choose the names.
func clean(name string) string {
	name = strings.ToValidUTF8(short(name), "\uFFFD")
	return strings.Map(func(r rune) rune {
		if r != ' ' && !unicode.IsGraphic(r) || unicode.Is(unicode.Bidi_Control, r) || unicode.Is(unicode.Mn, r) {
			return '\uFFFD'
		}
		return r
	}, name)
}

// build says what runs.
var build = sync.OnceValue(func() Build {
	b := Build{Go: runtime.Version(), Module: "unknown", Version: "unknown", Breakwater: "unknown"}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	const module = "github.com/breakwater-go/breakwater"
	b.Module, b.Version = cmp.Or(info.Main.Path, info.Path), cmp.Or(info.Main.Version, "(devel)")
	if info.Main.Path == module {
		b.Breakwater = b.Version
	}
	for _, dep := range info.Deps {
		if dep.Path == module {
			b.Breakwater = dep.Version
		}
	}
	for _, setting := range info.Settings {
		switch setting.Key {
		case "vcs.revision":
			b.Revision = setting.Value
		case "vcs.modified":
			b.Modified = setting.Value == "true"
		}
	}
	return b
})
