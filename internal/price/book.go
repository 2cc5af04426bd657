package price

import "sync"

// A Book sums costs. Its zero value is empty. It is safe for concurrent use.
type Book struct {
	mu  sync.Mutex // guards sum
	sum Sum
}

// A Sum is what attempts have cost.
type Sum struct {
	Amount    float64
	Estimated float64 // the part of Amount that is estimated
	Unknown   int64   // attempts whose cost is not known
}

// Add adds what an attempt has cost.
func (b *Book) Add(amount float64, estimated, known bool) {
	if known && amount == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.sum.Amount += amount
	if estimated {
		b.sum.Estimated += amount
	}
	if !known {
		b.sum.Unknown++
	}
}

// Sum returns the sum so far.
func (b *Book) Sum() Sum {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sum
}
