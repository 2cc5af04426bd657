package breakwater

import (
	"time"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/request"
)

// A pauseKey says what is paused: an endpoint, an account, one model of an
// account for one credential, or one model of an endpoint for one operation and
// one credential. Fields that do not matter are zero.
type pauseKey struct {
	endpoint   string
	account    string
	model      string
	op         request.Operation
	credential header.Credential
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

const (
	keyPause   = 10 * time.Minute // of an endpoint or account whose key does not work
	modelPause = time.Minute      // of a model that an endpoint does not have
)

// A refusal is the answer of a host that caused a pause. Callers whom the pause
// keeps away get the same answer.
type refusal struct {
	status      int
	contentType string
	body        []byte
}

// maxKeptRefusal is how many bytes of one refusal are kept.
const maxKeptRefusal = 16 << 10

// refusalOf is what f's host said; nil if that is nothing, or too much to be kept.
func refusalOf(f *exchange.Failure) *refusal {
	if f.Resp == nil {
		return nil
	}
	contentType := header.First(f.Resp.Header, "Content-Type")
	if len(f.Said)+len(contentType) > maxKeptRefusal {
		return nil
	}
	return &refusal{status: f.Status, contentType: contentType, body: f.Said}
}

// size is about how many bytes the refusal takes.
func (r *refusal) size() int { return len(r.contentType) + cap(r.body) }
