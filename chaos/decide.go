package chaos

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater/internal/request"
)

// A rule is a Rule that is set, with its counts. Injector.mu guards them.
type rule struct {
	Rule
	info *FaultInfo
	set  time.Time
	seed uint64

	matched, hits, unfit int64
}

// A question is what rules ask of a request.
type question struct {
	method, host, endpoint string
	operation              string
	model                  string
	stream                 bool
	choices                int    // of the answer
	digest                 uint64 // of the body
}

// The operations that a Match may name.
const other = "other"

var operations = []string{"chat/completions", "completions", "responses", "messages", "embeddings", other}

// operationOf returns the operation of a request.
func operationOf(req *http.Request) string {
	op, ok := request.OperationOf(req)
	if !ok {
		return other
	}
	return strings.TrimPrefix(string(op), "/")
}

// asksBody reports whether a rule has to know the request's body: to decide, or to answer.
func (r *rule) asksBody() bool {
	return len(r.Match.Models) > 0 || r.Match.Stream != nil || r.Share > 0 || r.info.Inside || r.Fault == ModelNotFound || r.Fault == Status
}

// fitsHead reports whether a rule fits what is known without the body.
func (r *rule) fitsHead(q *question) bool {
	m := &r.Match
	if r.info.Inside && q.operation == other {
		return false
	}
	return in(m.Endpoints, func(s string) bool { return s == q.endpoint }) &&
		in(m.Hosts, func(s string) bool { return fitsHost(s, q.host) }) &&
		in(m.Operations, func(s string) bool { return s == q.operation }) &&
		in(m.Methods, func(s string) bool { return s == q.method })
}

// fitsBody reports whether a rule fits what the body says.
func (r *rule) fitsBody(q *question) bool {
	m := &r.Match
	return (m.Stream == nil || *m.Stream == q.stream) && in(m.Models, func(s string) bool {
		if prefix, ok := strings.CutSuffix(s, "*"); ok {
			return strings.HasPrefix(q.model, prefix)
		}
		return s == q.model
	})
}

// in reports whether one of the list fits, or the list is empty.
func in(list []string, fits func(string) bool) bool {
	return len(list) == 0 || slices.ContainsFunc(list, fits)
}

// acts reports whether a rule acts at a time.
func (r *rule) acts(now, start time.Time) bool {
	since := now.Sub(r.set)
	if r.SinceStart {
		since = now.Sub(start)
	}
	if since < r.From || r.Until > 0 && since >= r.Until {
		return false
	}
	return r.On == 0 || (since-r.From)%(r.On+r.Off) < r.On
}

// meets reports whether the n-th request that matches a rule, from 1, meets the fault, but for
// Times.
func (r *rule) meets(n int64, q *question) bool {
	n -= int64(r.Skip)
	if n < 1 || r.Every > 1 && (n-1)%int64(r.Every) != 0 {
		return false
	}
	if r.Share > 0 && unit(hash(r.seed, "share", q.digest)) >= r.Share {
		return false
	}
	return r.Probability == 0 || unit(hash(r.seed, "probability", uint64(n))) < r.Probability
}

// hash mixes a seed, a name and numbers. It is the same on every machine and in every version
// of Go.
func hash(seed uint64, name string, numbers ...uint64) uint64 {
	text := binary.BigEndian.AppendUint64(nil, seed)
	for _, n := range numbers {
		text = binary.BigEndian.AppendUint64(text, n)
	}
	sum := sha256.Sum256(append(text, name...))
	return binary.BigEndian.Uint64(sum[:])
}

// unit maps a hash to [0, 1).
func unit(h uint64) float64 { return float64(h>>11) / (1 << 53) }

// A plan is what a request meets.
type plan struct {
	slows []*rule // latency, slow, bandwidth
	fault *rule   // nil: none
	hits  []Hit
}

// wantsBody reports whether any rule has to know the body of a request.
func (i *Injector) wantsBody(q *question) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	return slices.ContainsFunc(i.rules, func(r *rule) bool { return r.fitsHead(q) && r.asksBody() })
}

// decide finds out what a request meets, and counts it. protected is a fault that it would have
// met if its host were allowed.
func (i *Injector) decide(q *question) (p plan, protected *Hit) {
	allowed := i.allows(q.host)
	i.mu.Lock()
	defer i.mu.Unlock()
	i.requests++
	now := time.Now()
	for _, r := range i.rules {
		if p.fault != nil && !r.info.Slows || !r.acts(now, i.start) || !r.fitsHead(q) || !r.fitsBody(q) {
			continue
		}
		h := Hit{now, r.Name, r.Fault, int(min(r.matched+1, math.MaxInt)), q.endpoint, q.host, q.operation, q.model, q.stream}
		if !allowed {
			return plan{}, &h
		}
		r.matched++
		if !r.meets(r.matched, q) || r.Times > 0 && r.hits >= int64(r.Times) {
			continue
		}
		r.hits++
		p.hits = append(p.hits, h)
		if r.info.Slows {
			p.slows = append(p.slows, r)
		} else {
			p.fault = r
		}
	}
	return p, nil
}

// unfit notes that a response could not show a fault.
func (i *Injector) unfit(r *rule) {
	i.mu.Lock()
	defer i.mu.Unlock()
	r.unfit++
}
