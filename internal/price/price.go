// Package price says what tokens cost: the prices that a user gave, or those of a host's own
// page. It is pure and knows no HTTP. A [Rate] is read-only once it is made, so any goroutine
// may use it.
package price

import (
	"fmt"
	"math"
	"time"

	"github.com/breakwater-go/breakwater/internal/mistake"
)

// A Price is what the tokens of one model cost, as users write it. The public type of this name
// documents its fields.
type Price struct {
	Input, CachedInput, Output float64
	Currency                   string
	Peak                       string
	PeakFactor                 float64
	Holidays                   []string
	Source, Checked            string
}

// A Currency is a code of ISO 4217. The zero value is none.
type Currency [3]byte

// Dollar is the currency of prices that name none.
var Dollar = Currency{'U', 'S', 'D'}

// String returns the code. Those of most prices are made once, for metrics ask for it with each
// attempt.
func (c Currency) String() string {
	switch c {
	case Currency{}:
		return ""
	case Dollar:
		return "USD"
	case Currency{'C', 'N', 'Y'}:
		return "CNY"
	case Currency{'E', 'U', 'R'}:
		return "EUR"
	}
	return string(c[:])
}

// off is what stands for nothing in a Price: zero is a default.
const off = -1

// A Rate is a Price in use.
type Rate struct {
	input, cached, output float64 // of one token
	factor                float64 // at peak
	peak                  schedule
	currency              Currency
}

// Compile returns the rate of a price, and what is wrong with the price: nothing if wrong is empty.
func Compile(p Price) (r *Rate, wrong []string) {
	say := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	of := func(name string, v float64) float64 {
		switch {
		case v == off:
			return 0
		case math.IsNaN(v) || math.IsInf(v, 0) || v < 0:
			say("%s is %v: want a price per million tokens, or Off for none", name, v)
			return 0
		}
		if w := mistake.PerMillion(v); w != "" {
			say("%s is %v per million tokens: %s", name, v, w)
		}
		return v / 1e6
	}
	r = &Rate{input: of("Input", p.Input), cached: of("CachedInput", p.CachedInput), output: of("Output", p.Output), factor: 1}
	if p.Input == 0 {
		say("Input is missing: want the price of a million tokens, or Off if they cost nothing")
	}
	if p.Output == 0 {
		say("Output is missing: want the price of a million tokens, or Off if they cost nothing, as for embeddings")
	}
	switch {
	case p.CachedInput == 0:
		r.cached = r.input
	case r.cached > r.input && len(wrong) == 0:
		say("CachedInput is %v and Input %v: are they exchanged?", p.CachedInput, p.Input)
	}
	r.currency = currencyOf(p.Currency, say)
	r.setPeak(p, say)
	return r, wrong
}

func currencyOf(code string, say func(string, ...any)) (c Currency) {
	if code == "" {
		return Dollar
	}
	for i := range len(code) {
		if code[i] < 'A' || code[i] > 'Z' || len(code) != len(c) {
			say("Currency is %q: want a code of ISO 4217, such as USD or CNY", code)
			return c
		}
	}
	copy(c[:], code)
	return c
}

// setPeak reads when the price is another one, and by which factor.
func (r *Rate) setPeak(p Price, say func(string, ...any)) {
	switch {
	case p.Peak == "" && (p.PeakFactor != 0 || len(p.Holidays) > 0):
		say("PeakFactor or Holidays is set, and Peak is not: want the times, such as %q", example)
		return
	case p.Peak == "":
		return
	case !(p.PeakFactor > 0 && p.PeakFactor <= maxFactor):
		say("PeakFactor is %v: want what the prices are multiplied by at the times of Peak, such as 2, at most %d", p.PeakFactor, maxFactor)
	default:
		r.factor = p.PeakFactor
	}
	var err error
	if r.peak, err = parseSchedule(p.Peak); err != nil {
		say("Peak is %q: %v: want times like %q", p.Peak, err, example)
	}
	for _, day := range p.Holidays {
		at, err := time.Parse(time.DateOnly, day)
		if err != nil {
			say("Holidays has %q: want days like 2026-10-01", day)
			continue
		}
		r.peak.without = append(r.peak.without, at)
	}
}

// maxFactor bounds a factor: nobody means more.
const maxFactor = 100

// IsFree reports whether no token costs anything.
func (r *Rate) IsFree() bool { return r.input == 0 && r.cached == 0 && r.output == 0 }

// Currency returns the currency of the rate.
func (r *Rate) Currency() Currency { return r.currency }

// Tokens are what an attempt is billed for.
type Tokens struct {
	Prompt, Cached, Output int // Cached is a part of Prompt
}

// Cost returns what tokens cost that were asked for at a time. Numbers of tokens that make no
// sense are read as the nearest that do.
func (r *Rate) Cost(t Tokens, at time.Time) float64 {
	prompt := max(t.Prompt, 0)
	cached := min(max(t.Cached, 0), prompt)
	amount := float64(prompt-cached)*r.input + float64(cached)*r.cached + float64(max(t.Output, 0))*r.output
	if r.factor != 1 && r.peak.covers(at) {
		amount *= r.factor
	}
	return amount
}
