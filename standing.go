package breakwater

import (
	"time"

	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/outcome"
)

// A availability is how an endpoint stands towards a call at one moment.
type availability struct {
	ready       bool // could take it at once
	slowStart   bool // could, but is to be spared: its circuit has just closed
	atLimit     bool // could take it after a wait for a permit or token
	paused      pause
	quarantined bool // by us alone, for a key or a model: it may have been mended
	circuitOpen bool // its circuit alone keeps it; who has a spare answer leaves probes to others
	model       string
}

// availability tells how e availability; false if it does not serve the call at all.
func (c *call) availability(e *upstream, now time.Time) (availability, bool) {
	model, ok := c.eligible(e)
	if !ok {
		return availability{}, false
	}
	s := availability{model: model}
	if c.t.pauses.any() {
		s.quarantined = true
		keys := c.pauseKeys(e, model)
		for scope := outcome.ScopeEndpoint; scope <= outcome.ScopeModel; scope++ {
			p, ok := c.t.pauses.of(keys.of(scope), now)
			if ok && (scope == outcome.ScopeLimit || p.asked.After(now)) {
				s.quarantined = false
			}
			if ok && p.until.After(s.paused.until) {
				s.paused = p
			}
		}
	}
	if !s.paused.until.IsZero() {
		return s, true
	}
	switch circuit := e.circuits.known(model).stands(now, e.Load.Open()); {
	case !circuit.ready, c.fallback && circuit.tripped:
		s.circuitOpen = true
	case !e.limits.of(model).free(now):
		s.atLimit = true
	case circuit.ramping:
		s.slowStart = true
	default:
		s.ready = true
	}
	return s, true
}

// eligible returns the name under which e serves the call's model, or false if
// the call has no business there.
func (c *call) eligible(e *upstream) (string, bool) {
	if c.Endpoint != "" && c.Endpoint != e.Name || c.avoid != "" && c.avoid == e.Account || c.rescue == rescueContinues && e.row.prefix == "" {
		return "", false
	}
	if e != c.target {
		if c.upload != nil || c.encoded || c.look.stateful || c.look.prefix && e.row.prefix == "" {
			return "", false
		}
		if _, ok := e.rootOf(c.op); !ok {
			return "", false
		}
	}
	model, ok := e.serves(c)
	return model, ok && c.worthTrying(e, model)
}

// worthTrying reports whether e may do what none of the endpoints visited could
// for their limits: one of the same host with the same model has the same.
func (c *call) worthTrying(e *upstream, model string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, o := range c.unsuited {
		if o.endpoint != e && o.model == model && o.endpoint.row == e.row && (e.row.host != HostOpenAI || o.endpoint.origin == e.origin) {
			return false
		}
	}
	return true
}

// pauseKeys are the keys of the pauses that concern a call at an endpoint, one
// for each scope.
type pauseKeys [4]pauseKey

// of returns the key of a scope.
func (k *pauseKeys) of(s outcome.Scope) pauseKey { return k[s-1] }

func (c *call) pauseKeys(e *upstream, model string) pauseKeys {
	var asker header.Credential // what a host says to one credential concerns no other
	if !e.keyed {
		asker = c.credential()
	}
	return pauseKeys{ // a rate limit and a missing model depend on the credential
		outcome.ScopeEndpoint - 1: {endpoint: e.Name},
		outcome.ScopeAccount - 1:  {account: e.Account},
		outcome.ScopeLimit - 1:    {account: e.Account, model: model, credential: asker},
		outcome.ScopeModel - 1:    {endpoint: e.Name, model: model, op: c.op, credential: asker},
	}
}

// tried returns what the call knows of an account's endpoint, if it has
// been there. Endpoints of one account count as one.
func (c *call) tried(account string) *triedAccount {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.triedAccounts {
		if v.account == account {
			return v
		}
	}
	return nil
}

// isRacing reports whether the account is being asked beside another.
func (c *call) isRacing(account string) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.racing[0] != nil && (c.racing[0].Account == account || c.racing[1].Account == account)
}

// hasAlternative reports whether an endpoint the call has not been to could serve
// it now.
func (t *Transport) hasAlternative(a *attempt) bool {
	now := time.Now()
	for _, e := range a.call.candidates {
		if e.Account == a.endpoint.Account || a.call.tried(e.Account) != nil || a.call.isRacing(e.Account) {
			continue
		}
		s, ok := a.call.availability(e, now)
		if ok && (s.ready || s.slowStart || s.atLimit && e.limits.of(s.model).bears(now)) {
			return true
		}
	}
	return false
}
