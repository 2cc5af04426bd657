// Package health keeps what free requests show of an endpoint: whether its host can be
// reached, takes its key, has money left for it, and lists its models.
//
// A State is for one endpoint. It takes the results of probes, tells what has changed, and
// watches how a balance falls. The package sends nothing: who probes does. A State is safe for
// concurrent use.
package health

import (
	"slices"
	"sync"
	"time"
)

// A Finding answers a question about an endpoint. The empty one means that nobody knows.
type Finding string

const (
	Unknown Finding = ""
	Yes     Finding = "yes"
	No      Finding = "no"
)

// A Result is what one probe has shown. What it has not shown is empty.
type Result struct {
	Reachable  Finding  // the host has answered
	Credential Finding  // the host takes the key
	Funds      Finding  // the host says that the account has money
	Balance    *Balance // nil: not known
	Models     *Models  // nil: not known
}

// Models are the names that a host lists.
type Models struct {
	Names   map[string]bool
	Partial bool // the list has further pages
}

// A Balance is the money of an account. PerHour and Left are for Status alone.
type Balance struct {
	Amount   float64
	Currency string        // as the host names it, such as CNY
	At       time.Time     // when the host said so
	PerHour  float64       // how much less it became in an hour, lately; 0: not known, or nothing
	Left     time.Duration // how long it lasts if it goes on like that; 0: not known
}

// A Status is the latest that is known.
type Status struct {
	Checked    time.Time // when a probe or an answer last told something; zero: never
	Reachable  Finding
	Credential Finding
	Funds      Finding
	Balance    *Balance
	Missing    []string // models that the host does not list, in order
}

// A State is what is known of an endpoint. Its zero value knows nothing.
type State struct {
	mu       sync.Mutex // guards what follows
	status   Status
	samples  []Balance // of the latest day since money came in, oldest first
	low      bool      // the balance was below the bound, or there was no money
	refusing bool      // a probe was refused for its key, so an accepted one proves something
}

// Status returns what is known. Its parts must not be changed.
func (s *State) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.status
}

// Refusing reports whether the latest probe that told of the key was refused.
func (s *State) Refusing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.refusing
}

// A Change is what a result changed.
type Change struct {
	News bool // a finding or a missing model is another one than before
	Low  bool // the balance has fallen below the bound, or there is no money any more
}

// Note takes the result of a probe that ended now. wanted are the models that the host should
// list, and least the balance below which it is low.
func (s *State) Note(now time.Time, r Result, wanted []string, least float64) (c Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	set := func(known *Finding, found Finding) {
		if found != Unknown && *known != found {
			c.News = c.News || *known != Unknown || found == No
			*known = found
		}
	}
	s.status.Checked = now
	set(&s.status.Reachable, r.Reachable)
	set(&s.status.Credential, r.Credential)
	set(&s.status.Funds, r.Funds)
	if r.Credential != Unknown {
		s.refusing = r.Credential == No
	}
	if r.Models != nil {
		missing := r.Models.missing(wanted)
		c.News = c.News || !slices.Equal(missing, s.status.Missing)
		s.status.Missing = missing
	}
	if r.Balance != nil {
		s.noteBalanceLocked(now, *r.Balance)
	}
	low := s.status.Funds == No || s.status.Balance != nil && s.status.Balance.Amount < least
	c.Low = low && !s.low
	s.low = low
	return c
}

// Answered notes that the endpoint has answered a call then, with its own key if it is keyed.
func (s *State) Answered(at time.Time, keyed bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !at.After(s.status.Checked) {
		return
	}
	s.status.Checked, s.status.Reachable = at, Yes
	if keyed {
		s.status.Credential, s.refusing = Yes, false
	}
}

// missing returns those of the wanted models that a host does not list.
func (m *Models) missing(wanted []string) (missing []string) {
	if m.Partial || len(m.Names) == 0 {
		return nil
	}
	for _, name := range wanted {
		if !m.Names[name] {
			missing = append(missing, name)
		}
	}
	slices.Sort(missing)
	return slices.Compact(missing)
}

const (
	trendOver  = 24 * time.Hour // samples that are older tell no trend
	trendLeast = time.Hour / 2  // nor do those of a shorter time
	sampleGap  = 5 * time.Minute
)

// noteBalanceLocked takes a balance. What was there before money came in tells nothing of how
// long it lasts.
func (s *State) noteBalanceLocked(now time.Time, b Balance) {
	b.At = now
	if n := len(s.samples); n > 0 && (s.samples[n-1].Currency != b.Currency || s.samples[n-1].Amount < b.Amount) {
		s.samples = s.samples[:0]
	}
	for len(s.samples) > 0 && now.Sub(s.samples[0].At) > trendOver {
		s.samples = s.samples[1:]
	}
	if n := len(s.samples); n == 0 || now.Sub(s.samples[n-1].At) >= sampleGap {
		s.samples = append(s.samples, b)
	}
	oldest := s.samples[0]
	if took := now.Sub(oldest.At); took >= trendLeast && oldest.Amount > b.Amount {
		b.PerHour = (oldest.Amount - b.Amount) / took.Hours()
		b.Left = lasts(b.Amount, b.PerHour)
	}
	s.status.Balance = &b
}

// lasts returns how long an amount lasts, at most a year.
func lasts(amount, perHour float64) time.Duration {
	const year = 365 * 24 * time.Hour
	hours := max(amount, 0) / perHour
	if hours >= year.Hours() {
		return year
	}
	return time.Duration(hours * float64(time.Hour))
}
