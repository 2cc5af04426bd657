package drill

import (
	"fmt"
	"strconv"
	"time"
)

// An Objective is one objective of a script beside what was measured.
type Objective struct {
	Name     string   `json:"name"`
	Limit    float64  `json:"limit"`
	Measured *float64 `json:"measured"` // null: it never happened, such as a recovery, or there was nothing to measure
	Unit     string   `json:"unit"`     // share, seconds or ratio
	AtLeast  bool     `json:"at_least"` // the limit is the least; otherwise it is the most
	Held     bool     `json:"held"`
}

const (
	unitShare   = "share"
	unitSeconds = "seconds"
	unitRatio   = "ratio"
)

// judge compares what a client measured with the objectives. All of them must hold.
func judge(o Objectives, c *ClientReport) (all []Objective, held bool) {
	held = c.Calls > 0
	add := func(name, unit string, limit *float64, measured *float64, atLeast, vacuous bool) {
		if limit == nil {
			return
		}
		one := Objective{Name: name, Limit: *limit, Measured: measured, Unit: unit, AtLeast: atLeast}
		switch {
		case measured == nil:
			one.Held = vacuous
		case atLeast:
			one.Held = *measured >= *limit
		default:
			one.Held = *measured <= *limit
		}
		held = held && one.Held
		all = append(all, one)
	}
	inSeconds := func(d *time.Duration) *float64 {
		if d == nil {
			return nil
		}
		v := seconds(*d)
		return &v
	}
	lapse := func(l *Lapse) (*float64, bool) {
		switch {
		case l == nil:
			return nil, true // no fault that could be detected, or took calls away
		case l.Never:
			return nil, false
		}
		return &l.Seconds, false
	}
	add("availability", unitShare, o.Availability, &c.Availability, true, false)
	add("errors", unitShare, o.Errors, &c.Errors, false, false)
	add("wrong", unitShare, o.Wrong, &c.WrongShare, false, false)
	var first *float64
	if c.Answered > 0 {
		first = &c.FirstToken.P99
	}
	add("first_token_p99", unitSeconds, inSeconds(o.FirstToken), first, false, false)
	detect, none := lapse(c.Detect)
	add("detect", unitSeconds, inSeconds(o.Detect), detect, false, none)
	back, none := lapse(c.Recover)
	add("recover", unitSeconds, inSeconds(o.Recover), back, false, none)
	add("attempts_per_call", unitRatio, o.AttemptsPerCall, &c.AttemptsPerCall, false, false)
	add("amplification", unitRatio, o.Amplification, &c.Amplification, false, false)
	return all, held
}

// titles are the objectives as people read them.
var titles = map[string]string{
	"availability":      "availability",
	"errors":            "errors, worst minute",
	"wrong":             "wrong answers",
	"first_token_p99":   "P99 to first token",
	"detect":            "time to detect",
	"recover":           "time to recover",
	"attempts_per_call": "attempts a call",
	"amplification":     "amplification at the host",
}

// limitText is such as ≥ 99.95 %.
func (o Objective) limitText() string {
	sign := "≤ "
	if o.AtLeast {
		sign = "≥ "
	}
	return sign + o.text(&o.Limit)
}

func (o Objective) measuredText() string {
	if o.Measured == nil && o.Held {
		return "none"
	}
	return o.text(o.Measured)
}

func (o Objective) text(v *float64) string {
	switch {
	case v == nil:
		return "never"
	case o.Unit == unitShare:
		return percentText(*v)
	case o.Unit == unitSeconds:
		return secondsText(*v)
	}
	return strconv.FormatFloat(*v, 'f', 2, 64)
}

// percentText never rounds a miss up to 100 %, nor a share above 0 down to 0 %.
func percentText(share float64) string {
	p := 100 * share
	for digits := 0; digits <= 2; digits++ {
		text := strconv.FormatFloat(p, 'f', digits, 64)
		if back, _ := strconv.ParseFloat(text, 64); back-p < 1e-9 && p-back < 1e-9 {
			return text + " %"
		}
	}
	switch text := strconv.FormatFloat(p, 'f', 2, 64); text {
	case "100.00":
		return "99.99 %"
	case "0.00":
		return "0.01 %"
	default:
		return text + " %"
	}
}

func secondsText(s float64) string {
	switch {
	case s == 0:
		return "0 s"
	case s < 1:
		return fmt.Sprintf("%.0f ms", max(1, s*1000))
	case s < 10:
		return fmt.Sprintf("%.2f s", s)
	}
	return fmt.Sprintf("%.1f s", s)
}
