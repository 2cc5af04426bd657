package statuspage

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater"
)

// A told is a page that events are told, and a Status is asked.
type told struct {
	*Page
	status breakwater.EndpointStatus
}

func newTold() *told {
	return &told{New(), breakwater.EndpointStatus{Name: "deepseek"}}
}

func (p *told) tell(e breakwater.Event) {
	e.Time = time.Now()
	if e.Endpoint == "" {
		e.Endpoint = "deepseek"
	}
	p.Observe(context.Background(), e)
}

func (p *told) endpoint() Endpoint { return p.endpointOf("", p.status, time.Now()) }

func (p *told) fails(class breakwater.Class, status int) {
	p.tell(breakwater.Event{Kind: breakwater.KindAttempt, Attempt: 1, Class: class, Status: status, Fault: breakwater.FaultHost})
}

func (p *told) answers() {
	p.tell(breakwater.Event{Kind: breakwater.KindAttempt, Attempt: 1, Class: breakwater.ClassOK})
}

// The status beside a rejected key is the one that the host rejected it with, and not that of an
// earlier failure.
func TestEndpoint_RejectedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTold()
		p.answers()
		time.Sleep(time.Second)
		p.fails(breakwater.ClassUnavailable, 503)
		p.tell(breakwater.Event{Kind: breakwater.KindKey, Class: breakwater.ClassKeyRejected, Status: 401, Wait: 10 * time.Minute})
		if e := p.endpoint(); e.State != StateDown || e.Reason != "key_rejected" || e.Status != 401 || e.Since != stamp(time.Now()) {
			t.Errorf("%+v", e)
		}
		p.fails(breakwater.ClassUnavailable, 503) // an attempt that was under way
		if e := p.endpoint(); e.State != StateDown || e.Reason != "key_rejected" || e.Status != 401 {
			t.Errorf("after another failure: %+v", e)
		}
		time.Sleep(10 * time.Minute)
		if e := p.endpoint(); e.State != StateIdle || e.Reason != "" || e.Status != 0 || !e.Since.IsZero() {
			t.Errorf("after the pause: %+v", e)
		}
		p.tell(breakwater.Event{Kind: breakwater.KindKey, Class: breakwater.ClassNoFunds, Status: 402, Wait: 10 * time.Minute})
		p.answers()
		if e := p.endpoint(); e.State != StateOK || e.Reason != "" {
			t.Errorf("after an answer: %+v", e)
		}
		p.tell(breakwater.Event{Kind: breakwater.KindKey, Err: breakwater.ErrNoKey})
		if e := p.endpoint(); e.State != StateOK {
			t.Errorf("an attempt without a key: %+v", e)
		}
	})
}

// What is not well ends when the circuit closes or the pause ends, and not with the next answer.
func TestEndpoint_StatesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTold()
		p.answers()
		time.Sleep(time.Second)
		since := stamp(time.Now())
		p.fails(breakwater.ClassUnavailable, 503)
		if e := p.endpoint(); e.State != StateDegraded || e.Since != since || e.Status != 503 || e.Failures != 1 {
			t.Errorf("after a failure: %+v", e)
		}
		time.Sleep(time.Second)
		for _, model := range []string{"deepseek-chat", "deepseek-reasoner"} {
			p.tell(breakwater.Event{Kind: breakwater.KindCircuit, Model: model, From: "closed", To: "open"})
		}
		p.status.Circuits = []breakwater.CircuitStatus{{Model: "deepseek-chat", State: "open"}, {Model: "deepseek-reasoner", State: "open"}}
		if e := p.endpoint(); e.State != StateDown || e.Since != since || e.Circuits[0].Since != stamp(time.Now()) {
			t.Errorf("with open circuits: %+v", e)
		}
		p.tell(breakwater.Event{Kind: breakwater.KindCircuit, Model: "deepseek-chat", From: "half-open", To: "closed"})
		p.status.Circuits[0].State = "closed"
		if e := p.endpoint(); e.State != StateDown {
			t.Errorf("with an open circuit: %+v", e)
		}
		p.tell(breakwater.Event{Kind: breakwater.KindCircuit, Model: "deepseek-reasoner", From: "half-open", To: "closed"})
		p.status.Circuits[1].State = "closed"
		if e := p.endpoint(); e.State != StateOK || e.Reason != "" || e.Failures != 0 {
			t.Errorf("with closed circuits: %+v", e)
		}
		p.fails(breakwater.ClassRateLimited, 429)
		p.status.Pauses = []breakwater.PauseStatus{{Until: time.Now().Add(6 * time.Minute)}}
		if e := p.endpoint(); e.State != StatePaused || e.Reason != "rate_limited" || e.Status != 429 || len(e.Pauses) != 1 {
			t.Errorf("paused: %+v", e)
		}
		time.Sleep(6 * time.Minute)
		if e := p.endpoint(); e.State != StateIdle || e.Reason != "" || len(e.Pauses) != 0 {
			t.Errorf("after the pause: %+v", e)
		}
	})
}

// A circuit that is not known yet makes room for itself.
func TestPage_ForgetsTheOldestCircuit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newTold()
		for i := range maxCircuits + 1 {
			time.Sleep(time.Second)
			p.tell(breakwater.Event{Kind: breakwater.KindCircuit, Model: string(rune('a' + i)), To: "open"})
		}
		_, first := p.circuits[circuitOf{place{"", "deepseek"}, "a"}]
		last := p.circuits[circuitOf{place{"", "deepseek"}, string(rune('a' + maxCircuits))}]
		if len(p.circuits) != maxCircuits || first || !last.Equal(time.Now()) {
			t.Errorf("%d circuits, the first %v, the last %v", len(p.circuits), first, last)
		}
	})
}

// Endpoints of one name are told apart by the Parts of their Transports.
func TestPage_Parts(t *testing.T) {
	page := New()
	chat, batch := page.Part("chat"), page.Part("batch")
	for _, part := range []*Part{chat, batch} {
		tr, err := breakwater.New(breakwater.WithEndpoints(breakwater.DeepSeek("sk-secret")), breakwater.WithObserver(part.Observe))
		if err != nil {
			t.Fatal(err)
		}
		defer tr.Close()
		part.Watch(tr)
	}
	now := time.Now()
	chat.Observe(t.Context(), breakwater.Event{Kind: breakwater.KindAttempt, Time: now, Call: "c", Endpoint: "deepseek", Attempt: 1, Class: breakwater.ClassUnavailable, Fault: breakwater.FaultHost})
	chat.Observe(t.Context(), breakwater.Event{Kind: breakwater.KindEnd, Time: now, Call: "c", Endpoint: "deepseek", Outcome: "unavailable", Class: breakwater.ClassUnavailable, Fault: breakwater.FaultHost})
	batch.Observe(t.Context(), breakwater.Event{Kind: breakwater.KindAttempt, Time: now, Call: "d", Endpoint: "deepseek", Attempt: 1, Class: breakwater.ClassOK})
	batch.Observe(t.Context(), breakwater.Event{Kind: breakwater.KindEnd, Time: now, Call: "d", Endpoint: "deepseek", Outcome: breakwater.OutcomeOK, Class: breakwater.ClassOK})
	s := page.Snapshot()
	if len(s.Endpoints) != 2 || s.Endpoints[0].Part != "chat" || s.Endpoints[0].State != StateDegraded || s.Endpoints[1].Part != "batch" || s.Endpoints[1].State != StateOK {
		t.Errorf("endpoints: %+v", s.Endpoints)
	}
	if len(s.Failures) != 1 || s.Failures[0].Part != "chat" || len(s.Recent.ServedBy) != 1 || s.Recent.ServedBy[0] != (Share{"batch", "deepseek", 1}) {
		t.Errorf("failures %+v, served by %+v", s.Failures, s.Recent.ServedBy)
	}
	if v := (view{Snapshot: s}); v.Headline()[0].Names[0] != "batch/deepseek" || v.Headline()[1].Names[0] != "chat/deepseek" {
		t.Errorf("the headline is %v", v.Headline())
	}
}
