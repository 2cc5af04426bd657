package repetition

import (
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// limits are those that rates are stated for.
var limits = []int{1 << 10, 2 << 10, 4 << 10, 8 << 10, 16 << 10}

// find returns how much of a text the detector reads until it finds a repetition, 0 if it
// finds none. The text comes in parts of n bytes, as tokens do.
func find(text string, limit, n int) (read int) {
	d := New(limit)
	for part := range slices.Chunk([]byte(text), n) {
		read += len(part)
		if d.Add(part) {
			return read
		}
	}
	return 0
}

// TestRates_FalsePositives measures which texts of the corpus are taken for endless although
// they are not. The documentation of StreamPolicy.Repetition rests on these rates.
func TestRates_FalsePositives(t *testing.T) {
	found := func(texts []text, limit int) (names []string) {
		for _, text := range texts {
			if find(text.is, limit, 5) > 0 {
				names = append(names, filepath.Base(text.name))
			}
		}
		return names
	}
	wantWritten := map[int][]string{ // ninety-nine verses that count: 11,753 bytes
		1 << 10: {"ninety-nine-bottles.txt"},
		2 << 10: {"ninety-nine-bottles.txt"},
		4 << 10: {"ninety-nine-bottles.txt"},
	}
	for _, limit := range limits {
		texts := written(t)
		names := found(texts, limit)
		t.Logf("%d bytes: written: %d of %d", limit, len(names), len(texts))
		if !slices.Equal(names, wantWritten[limit]) {
			t.Errorf("%d bytes: of the written texts, %q are taken for endless, want %q", limit, names, wantWritten[limit])
		}
		for name, texts := range map[string][]text{"made": made(), "asked for": asked(limit)} {
			names := found(texts, limit)
			t.Logf("%d bytes: %s: %d of %d", limit, name, len(names), len(texts))
			if len(names) > 0 {
				t.Errorf("%d bytes: of the texts that are %s, %q are taken for endless", limit, name, names)
			}
		}
		// This repository changes; pictures and recordings may repeat themselves.
		texts = repository(t)
		names = found(texts, limit)
		t.Logf("%d bytes: repository: %d of %d: %q", limit, len(names), len(texts), names)
		if len(names)*50 > len(texts) {
			t.Errorf("%d bytes: of this repository's texts, %q are taken for endless: more than 2 %%", limit, names)
		}
	}
}

// TestRates_Found measures how many endless texts are found: the units of testdata/endless
// again and again, and random parts of the written texts. A few of those that are made of
// repetitions themselves are found later.
func TestRates_Found(t *testing.T) {
	r := rand.New(rand.NewSource(7))
	endless := textsOf(t, "testdata/endless", 0)
	for _, w := range written(t) {
		for range 40 {
			n := 1 + r.Intn(min(len(w.is), MaxPeriod, 1<<(1+r.Intn(13))))
			at := r.Intn(len(w.is) - n + 1)
			endless = append(endless, text{fmt.Sprintf("%s[%d:%d]", filepath.Base(w.name), at, at+n), w.is[at : at+n]})
		}
	}
	before := written(t)[0].is[:3000]
	for _, limit := range limits {
		missed, late := []string{}, 0
		for _, u := range endless {
			most := max(limit, units*len(u.is)) + markEvery + 2*len(u.is) + 3*window
			is := before + strings.Repeat(u.is, most/len(u.is)+1)
			at := find(is, limit, 4)
			switch {
			case at == 0:
				missed = append(missed, u.name)
			case at < len(before):
				t.Errorf("%s is found before it begins", u.name)
			default:
				late = max(late, at-len(before)-max(limit, units*len(u.is)))
			}
		}
		t.Logf("%d bytes: %d of %d are found, at most %d bytes behind the limit", limit, len(endless)-len(missed), len(endless), late)
		if len(missed)*100 > len(endless) {
			t.Errorf("%d bytes: more than 1 %% are not found: %q", limit, missed)
		}
	}
}

// TestRates_Counted is TestRates_Found for units that count.
func TestRates_Counted(t *testing.T) {
	sentence := "I will check the file again, and then answer. "
	for name, unit := range map[string]func(i int) string{
		"numbered":         func(i int) string { return fmt.Sprintf("%d. %s\n", i, sentence) },
		"short":            func(i int) string { return fmt.Sprintf("%d. No.\n", i) },
		"by five":          func(i int) string { return fmt.Sprintf("At %d: %s", 5*i, sentence) },
		"down":             func(i int) string { return fmt.Sprintf("%d left. %s", 9000-i, sentence) },
		"two counters":     func(i int) string { return fmt.Sprintf("Step %d of %d: %s", i, i+1, sentence) },
		"one of many":      func(i int) string { return fmt.Sprintf("%d. In 2026, 3 of 12 hosts: %s\n", i, sentence) },
		"a paragraph":      func(i int) string { return fmt.Sprintf("## Attempt %d\n\n%s\n\n", i, strings.Repeat(sentence, 20)) },
		"objects":          func(i int) string { return fmt.Sprintf(`{"id":%d,"name":"item","value":null},`, i) },
		"第几章":              func(i int) string { return fmt.Sprintf("第%d章：我再检查一遍这个文件。\n", i) },
		"a blank aligned":  func(i int) string { return fmt.Sprintf("%05d %s\n", i, sentence) },
		"numbers that are": func(int) string { return "0 1 0 1 1 " },
		"a long number":    func(int) string { return "142857" },
		"one digit":        func(int) string { return "0" },
	} {
		for _, limit := range limits {
			var b strings.Builder
			for i := 1; b.Len() < limit+12000; i++ {
				b.WriteString(unit(i))
			}
			if at := find(b.String(), limit, 3); at < limit || at > limit+9000 {
				t.Errorf("%s: %d bytes: found behind %d bytes, want at most 9000 more than the limit", name, limit, at)
			}
		}
	}
}

// TestDetector_Stays: what was found stays found.
func TestDetector_Stays(t *testing.T) {
	d := New(MinLimit)
	if !d.Add([]byte(strings.Repeat("no. ", 2*MinLimit))) || !d.Add([]byte("But then a new thought came.")) || !d.Add(nil) {
		t.Error("a repetition that was found is forgotten")
	}
}

// TestDetector_Parts: what is found does not depend on the parts in which the text comes.
func TestDetector_Parts(t *testing.T) {
	endless := written(t)[1].is[:2000] + strings.Repeat("12. And so on, and on, 7 times. ", 400)
	want := find(endless, 4<<10, 1)
	for _, n := range []int{2, 3, 7, 64, 1000} {
		if at := find(endless, 4<<10, n); at < want || at >= want+n {
			t.Errorf("in parts of %d bytes it is found behind %d, want within the part of %d", n, at, want)
		}
	}
}

func TestDetector_Allocations(t *testing.T) {
	d, part := New(16<<10), []byte("a token of 12 ")
	if n := testing.AllocsPerRun(1000, func() { d.Add(part) }); n > 0 {
		t.Errorf("%v allocations a part, want none", n)
	}
}

// FuzzDetector compares what is found with a simple check: an end of the text that is the
// same as the one a period before.
func FuzzDetector(f *testing.F) {
	for _, unit := range []string{"a", "no. ", "1. yes ", "{\"a\":1},", "\xff\xff0", "我"} {
		f.Add("It begins. ", unit, uint16(3000))
		f.Add("", unit, uint16(900))
	}
	f.Fuzz(func(t *testing.T, before, unit string, n uint16) {
		if n %= 8 << 10; len(before) > 4000 || len(unit) == 0 || len(unit) > 4000 {
			return
		}
		endless := before + strings.Repeat(unit, int(n)/len(unit))
		at := find(endless, MinLimit, 16)
		if at > 0 && at < MinLimit {
			t.Fatalf("found behind %d bytes", at)
		}
		if at > 0 && !repeats(endless[:at], MinLimit/2) {
			t.Errorf("found behind %d bytes, but nothing repeats itself", at)
		}
	})
}

// repeats reports whether a text has at least so many bytes that repeat those of some period
// before, numbers aside.
func repeats(text string, least int) bool {
	var symbols []byte
	for i, digits := 0, 0; i < len(text); i++ {
		if digit := '0' <= text[i] && text[i] <= '9'; !digit {
			digits = 0
		} else if digits++; digits > 1 && digits <= maxDigits {
			continue
		} else if digits == 1 {
			symbols = append(symbols, number)
			continue
		}
		symbols = append(symbols, text[i])
	}
	for period := 1; period < len(symbols); period++ {
		run := 0
		for i := period; i < len(symbols); i++ {
			if run++; symbols[i] != symbols[i-period] {
				run = 0
			}
			if run*maxDigits >= least {
				return true
			}
		}
	}
	return false
}

// BenchmarkAdd reads a document in parts as long as tokens.
func BenchmarkAdd(b *testing.B) {
	text, err := os.ReadFile("testdata/plain/reasoning.txt")
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	d := New(16 << 10)
	for b.Loop() {
		for part := range slices.Chunk(text, 4) {
			d.Add(part)
		}
	}
}
