package price

import (
	"sync"
	"time"
)

// A Day sums what attempts cost since midnight. It is safe for concurrent use.
type Day struct {
	zone *time.Location

	mu     sync.Mutex // guards what follows
	ends   time.Time  // the next midnight; zero: nothing was added yet
	amount float64
}

// NewDay returns the sum of the days of a zone.
func NewDay(zone *time.Location) *Day { return &Day{zone: zone} }

// Add adds an amount.
func (d *Day) Add(amount float64, now time.Time) {
	if amount == 0 {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turn(now)
	d.amount += amount
}

// Amount returns the sum of the day, and when the day ends.
func (d *Day) Amount(now time.Time) (amount float64, ends time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.turn(now)
	return d.amount, d.ends
}

// turn begins a new day at midnight. A clock that was set back begins none.
func (d *Day) turn(now time.Time) {
	if now.Before(d.ends) {
		return
	}
	year, month, day := now.In(d.zone).Date()
	d.ends, d.amount = time.Date(year, month, day+1, 0, 0, 0, 0, d.zone), 0
}
