package price

import "time"

// Spending is what the attempts of today have cost, and may cost: of each account that has a
// limit, and of all. It is safe for concurrent use. A nil Spending has no limits.
type Spending struct {
	zone     *time.Location
	currency Currency
	limits   map[string]float64 // by account; "": of all
	days     map[string]*Day    // likewise
}

// NewSpending returns the sums for some limits. Those of the same days, currency and account as
// before go on.
func NewSpending(zone *time.Location, c Currency, limits map[string]float64, before *Spending) *Spending {
	s := &Spending{zone: zone, currency: c, limits: limits, days: make(map[string]*Day, len(limits))}
	goesOn := before != nil && before.currency == c && before.zone.String() == zone.String()
	for account := range limits {
		if goesOn {
			s.days[account] = before.days[account]
		}
		if s.days[account] == nil {
			s.days[account] = NewDay(zone)
		}
	}
	return s
}

// Add adds what an attempt at an account has cost.
func (s *Spending) Add(account string, amount float64, now time.Time) {
	if s == nil || amount == 0 {
		return
	}
	for _, of := range [...]string{"", account} {
		if day := s.days[of]; day != nil {
			day.Add(amount, now)
		}
	}
}

// An Over says which limit is reached.
type Over struct {
	Account    string // empty: that of all
	Spent, Max float64
	Currency   Currency
	Left       time.Duration // until the day ends
}

// Today returns what all attempts of today have cost, if that has a limit.
func (s *Spending) Today(now time.Time) (spent float64, ok bool) {
	if s == nil || s.days[""] == nil {
		return 0, false
	}
	spent, _ = s.days[""].Amount(now)
	return spent, true
}

// Over returns the limit that lets no attempt at an account begin, and whether there is one.
func (s *Spending) Over(account string, now time.Time) (o Over, is bool) {
	for _, of := range [...]string{"", account} {
		day := s.days[of]
		if day == nil {
			continue
		}
		if spent, ends := day.Amount(now); spent >= s.limits[of] {
			return Over{of, spent, s.limits[of], s.currency, ends.Sub(now)}, true
		}
	}
	return o, false
}
