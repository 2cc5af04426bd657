package price

import (
	"math"
	"strings"
	"testing"
	"time"
)

func at(text string) time.Time {
	t, err := time.Parse("2006-01-02 15:04:05", text)
	if err != nil {
		panic(err)
	}
	return t
}

// The costs that follow from the prices of DeepSeek's page.
func TestRate_Cost(t *testing.T) {
	flash, wrong := Compile(Table("deepseek")["deepseek-flash"])
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	saturday := at("2026-11-28 02:00:00")
	for _, tt := range []struct {
		name   string
		tokens Tokens
		at     time.Time
		want   float64 // for a million
	}{
		{"input", Tokens{Prompt: 1e6}, saturday, 0.15},
		{"cached input", Tokens{Prompt: 1e6, Cached: 1e6}, saturday, 0.003},
		{"half of it cached", Tokens{Prompt: 1e6, Cached: 5e5}, saturday, 0.0765},
		{"output", Tokens{Output: 1e6}, saturday, 0.60},
		{"all", Tokens{Prompt: 1e6, Output: 1e6}, saturday, 0.75},
		{"at peak", Tokens{Prompt: 1e6, Output: 1e6}, at("2026-11-27 02:00:00"), 1.50},
		{"more cached than there is", Tokens{Prompt: 1e6, Cached: math.MaxInt32}, saturday, 0.003},
		{"negative", Tokens{Prompt: -1, Cached: -1, Output: -1}, saturday, 0},
		{"the largest", Tokens{Prompt: math.MaxInt32, Output: math.MaxInt32}, saturday, 0.75 * math.MaxInt32 / 1e6},
	} {
		if got := flash.Cost(tt.tokens, tt.at); math.Abs(got-tt.want) > 1e-9 {
			t.Errorf("%s: %v, want %v", tt.name, got, tt.want)
		}
	}
}

func TestSchedule_Covers(t *testing.T) {
	const deepseek = "Mon-Fri 01:00-04:00 06:00-10:00 UTC"
	for _, tt := range []struct {
		schedule, at string
		want         bool
	}{
		{deepseek, "2026-11-27 00:59:59", false}, // a Friday
		{deepseek, "2026-11-27 01:00:00", true},
		{deepseek, "2026-11-27 03:59:59", true},
		{deepseek, "2026-11-27 04:00:00", false},
		{deepseek, "2026-11-27 06:00:00", true},
		{deepseek, "2026-11-27 09:59:59", true},
		{deepseek, "2026-11-27 10:00:00", false},
		{deepseek, "2026-11-28 02:00:00", false},
		{deepseek, "2026-11-30 02:00:00", true},
		{example, "2026-11-27 00:59:59", false}, // the same hours, in Beijing's words
		{example, "2026-11-27 01:00:00", true},
		{example, "2026-11-27 09:59:59", true},
		{example, "2026-11-27 10:00:00", false},
		{"22:00-06:00", "2026-11-27 23:00:00", true},
		{"22:00-06:00", "2026-11-27 05:59:00", true},
		{"22:00-06:00", "2026-11-27 06:00:00", false},
		{"Fri 22:00-06:00", "2026-11-28 05:00:00", true}, // it began on Friday
		{"Fri 22:00-06:00", "2026-11-27 05:00:00", false},
		{"Fri-Sun 00:00-24:00", "2026-11-29 23:59:59", true},
		{"Fri-Mon 00:00-24:00", "2026-11-30 12:00:00", true}, // over the end of the week
		{"Mon,wednesday 00:00-24:00", "2026-11-25 12:00:00", true},
		{"Mon,Wed 00:00-24:00", "2026-11-24 12:00:00", false},
		{"00:30-08:30 +08:00", "2026-11-27 16:30:00", true},
		{"00:30-08:30 +08:00", "2026-11-27 00:30:00", false},
		// In New York the clocks went back at 06:00 UTC on 2026-11-01.
		{"09:00-10:00 America/New_York", "2026-10-30 13:30:00", true},
		{"09:00-10:00 America/New_York", "2026-11-02 13:30:00", false},
		{"09:00-10:00 America/New_York", "2026-11-02 14:30:00", true},
	} {
		s, err := parseSchedule(tt.schedule)
		if err != nil {
			t.Errorf("%q: %v", tt.schedule, err)
			continue
		}
		if got := s.covers(at(tt.at)); got != tt.want {
			t.Errorf("%q covers %s UTC: %v", tt.schedule, tt.at, got)
		}
	}
}

// A holiday is one in the zone of the schedule.
func TestSchedule_Holidays(t *testing.T) {
	r, wrong := Compile(Price{Input: 1, Output: 1, Peak: "Mon-Fri 06:00-10:00 Asia/Shanghai", PeakFactor: 3, Holidays: []string{"2026-10-01"}})
	if len(wrong) > 0 {
		t.Fatal(wrong)
	}
	for when, want := range map[string]float64{
		"2026-09-30 23:00:00": 1, // 07:00 of October 1st in Beijing
		"2026-10-01 01:00:00": 1,
		"2026-10-01 23:00:00": 3, // 07:00 of Friday, October 2nd
		"2026-09-30 01:00:00": 3,
	} {
		if got := r.Cost(Tokens{Prompt: 1e6}, at(when)); math.Abs(got-want) > 1e-9 {
			t.Errorf("at %s UTC it costs %v, want %v", when, got, want)
		}
	}
	flash, _ := Compile(Table("deepseek")["deepseek-flash"])
	if got := flash.Cost(Tokens{Output: 1e6}, at("2026-10-06 02:00:00")); math.Abs(got-0.60) > 1e-9 {
		t.Errorf("on a Tuesday of the Golden Week: %v, want 0.6", got)
	}
}

func TestCompile_Mistakes(t *testing.T) {
	right := Price{Input: 1, Output: 2}
	edited := func(edit func(*Price)) Price {
		p := right
		edit(&p)
		return p
	}
	for _, tt := range []struct {
		name string
		p    Price
		want string
	}{
		{"nothing", Price{}, "Input is missing"},
		{"no output", Price{Input: 1}, "Output is missing"},
		{"negative", edited(func(p *Price) { p.Input = -2 }), "Input is -2"},
		{"not a number", edited(func(p *Price) { p.Output = math.NaN() }), "Output is NaN"},
		{"infinite", edited(func(p *Price) { p.CachedInput = math.Inf(1) }), "CachedInput is +Inf"},
		{"of one token", edited(func(p *Price) { p.Input = 0.00000015 }), "did you mean 0.15?"},
		{"absurd", edited(func(p *Price) { p.Output = 1e12 }), "nothing costs that much"},
		{"exchanged", edited(func(p *Price) { p.CachedInput = 3 }), "are they exchanged?"},
		{"a sign", edited(func(p *Price) { p.Currency = "$" }), `Currency is "$"`},
		{"lower case", edited(func(p *Price) { p.Currency = "usd" }), `Currency is "usd"`},
		{"a factor alone", edited(func(p *Price) { p.PeakFactor = 2 }), "Peak is not"},
		{"holidays alone", edited(func(p *Price) { p.Holidays = []string{"2026-10-01"} }), "Peak is not"},
		{"no factor", edited(func(p *Price) { p.Peak = "01:00-02:00" }), "PeakFactor is 0"},
		{"a negative factor", edited(func(p *Price) { p.Peak, p.PeakFactor = "01:00-02:00", -1 }), "PeakFactor is -1"},
		{"a percentage", edited(func(p *Price) { p.Peak, p.PeakFactor = "01:00-02:00", 200 }), "PeakFactor is 200"},
		{"no hours", edited(func(p *Price) { p.Peak, p.PeakFactor = "Mon-Fri", 2 }), "it has no hours"},
		{"an hour", edited(func(p *Price) { p.Peak, p.PeakFactor = "9-12", 2 }), `"9-12" is no time`},
		{"an hour too many", edited(func(p *Price) { p.Peak, p.PeakFactor = "09:00-25:00", 2 }), "is no time"},
		{"no time at all", edited(func(p *Price) { p.Peak, p.PeakFactor = "09:00-09:00", 2 }), "ends when it begins"},
		{"an unknown day", edited(func(p *Price) { p.Peak, p.PeakFactor = "Moon 09:00-10:00", 2 }), `"Moon" is no day`},
		{"an unknown zone", edited(func(p *Price) { p.Peak, p.PeakFactor = "09:00-10:00 Asia/Atlantis", 2 }), `"Asia/Atlantis" is not known`},
		{"the zone of this machine", edited(func(p *Price) { p.Peak, p.PeakFactor = "09:00-10:00 Local", 2 }), `"Local" is not known`},
		{"days behind hours", edited(func(p *Price) { p.Peak, p.PeakFactor = "09:00-10:00 Mon 11:00-12:00", 2 }), "neither hours nor a zone"},
		{"endless", edited(func(p *Price) { p.Peak, p.PeakFactor = strings.Repeat("Mon ", 100), 2 }), "too many parts"},
		{"no day", edited(func(p *Price) { p.Peak, p.PeakFactor, p.Holidays = "09:00-10:00", 2, []string{"01.10.2026"} }), `Holidays has "01.10.2026"`},
	} {
		if _, wrong := Compile(tt.p); !strings.Contains(strings.Join(wrong, "; "), tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, wrong, tt.want)
		}
	}
	free, wrong := Compile(Price{Input: off, Output: off})
	if got := free.Cost(Tokens{Prompt: 1e6, Output: 1e6}, at("2026-11-27 02:00:00")); len(wrong) > 0 || got != 0 {
		t.Errorf("a model that costs nothing costs %v: %q", got, wrong)
	}
	if r, wrong := Compile(right); len(wrong) > 0 || r.Cost(Tokens{Prompt: 1e6, Cached: 1e6}, time.Time{}) != 1 || r.Currency() != Dollar {
		t.Errorf("without CachedInput, cached tokens cost something else than Input, in %v: %q", r.Currency(), wrong)
	}
}

// The table can be compiled, and a copy of it shares nothing with it.
func TestTable(t *testing.T) {
	table := Table("deepseek")
	for model, p := range table {
		if _, wrong := Compile(p); len(wrong) > 0 {
			t.Errorf("%s: %q", model, wrong)
		}
		p.Holidays[0] = "1999-01-01"
		delete(table, model)
	}
	if again := Table("deepseek"); len(again) != 4 || again["deepseek-flash"].Holidays[0] == "1999-01-01" {
		t.Errorf("the table has changed: %v", again)
	}
	if Table("siliconflow") != nil {
		t.Error("there are prices that nobody has seen")
	}
}

// Rows that nobody has compared with their host's page for half a year are listed, and no more:
// nothing here can look at the page.
func TestTable_RowsGrowOld(t *testing.T) {
	for model, p := range deepSeek {
		day, err := time.Parse(time.DateOnly, p.Checked)
		if err != nil || p.Source == "" {
			t.Errorf("%s: checked on %q against %q", model, p.Checked, p.Source)
		}
		if time.Since(day) > 183*24*time.Hour {
			t.Logf("%s: last compared with %s on %s", model, p.Source, p.Checked)
		}
	}
}

// Whatever a user writes, a schedule is read or refused, and asking it never panics.
func FuzzSchedule(f *testing.F) {
	f.Add("Mon-Fri 01:00-04:00 06:00-10:00 UTC", int64(0))
	f.Add("Sat,Sun-Tue 22:00-06:00 +08:00", int64(1e9))
	f.Add("24:00-00:00", int64(-1))
	f.Fuzz(func(t *testing.T, text string, seconds int64) {
		if s, err := parseSchedule(text); err == nil {
			s.covers(time.Unix(seconds%(1<<40), 0))
		}
	})
}

func BenchmarkCost(b *testing.B) {
	flash, _ := Compile(Table("deepseek")["deepseek-flash"])
	now := time.Now()
	b.ReportAllocs()
	for b.Loop() {
		flash.Cost(Tokens{Prompt: 700, Cached: 200, Output: 300}, now)
	}
}
