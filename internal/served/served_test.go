package served

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"
)

// open is for names that may all be told.
func open(string) bool { return false }

var begin = time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC)

// A step is one answer, after a while.
type step struct {
	after              time.Duration
	model, fingerprint string
	want               string // the drift; empty: none
}

func TestServed_Drift(t *testing.T) {
	hour := time.Hour
	for _, tt := range []struct {
		name  string
		steps []step
	}{
		{"nothing changes", []step{{0, "a", "1", ""}, {0, "a", "1", ""}, {100 * hour, "a", "1", ""}}},
		{"another model, once", []step{{0, "a", "1", ""}, {0, "b", "2", "a-b"}, {0, "b", "2", ""}, {0, "b", "3", "fp 2-3"}}},
		{"to and fro, as servers change", []step{{0, "a", "", ""}, {0, "b", "", "a-b"}, {0, "a", "", ""}, {0, "b", "", ""}, {0, "a", "", ""}}},
		{"back after a day", []step{{0, "a", "", ""}, {0, "b", "", "a-b"}, {hour, "b", "", ""}, {24 * hour, "a", "", "b-a"}}},
		{"back within a day", []step{{0, "a", "", ""}, {0, "b", "", "a-b"}, {12 * hour, "b", "", ""}, {11 * hour, "a", "", ""}}},
		{"replicas with a fingerprint each", []step{{0, "a", "1", ""}, {0, "a", "2", "fp 1-2"}, {0, "a", "1", ""}, {0, "a", "2", ""}, {0, "a", "1", ""}, {0, "a", "3", "fp 1-3"}}},
		{"a fingerprint for each answer", []step{
			{0, "a", "1", ""}, {0, "a", "2", "fp 1-2"}, {0, "a", "3", "fp 2-3"}, {0, "a", "4", "fp 3-4"}, {0, "a", "5", "fp 4-5"}, {0, "a", "6", "fp 5-6"},
			{0, "a", "7", "fp 6-7"}, {0, "a", "8", "fp 7-8"}, {0, "a", "9", ""}, {0, "a", "10", ""}, {hour, "a", "1", ""}, {25 * hour, "a", "11", "fp 1-11"},
		}},
		{"a fingerprint comes and goes", []step{{0, "a", "", ""}, {0, "a", "1", ""}, {0, "a", "", ""}, {0, "a", "2", "fp 1-2"}}},
		{"a model comes and goes", []step{{0, "", "1", ""}, {0, "a", "1", ""}, {0, "", "1", ""}, {0, "b", "", "a-b"}}},
		{"one after the other", []step{{0, "a", "", ""}, {0, "", "1", ""}, {0, "a", "", ""}, {0, "", "1", ""}}},
		{"nothing visible", []step{{0, "a", "", ""}, {0, "\u4f60 \n", "", ""}, {0, "a", "", ""}}},
		{"the same but for what is not visible", []step{{0, "a b", "", ""}, {0, "a b", "", ""}, {0, "ab", "", ""}}},
	} {
		table, now := NewTable(), begin
		for i, s := range tt.steps {
			now = now.Add(s.after)
			id, drift := table.Note("m", []byte(s.model), []byte(s.fingerprint), now, open)
			got := ""
			if drift != nil {
				got = drift.From + "-" + drift.To
				if drift.Fingerprint {
					got = "fp " + got
				}
			}
			clean := strings.Map(func(r rune) rune {
				if r <= ' ' || r > '~' {
					return -1
				}
				return r
			}, s.model)
			if got != s.want || id != (Identity{clean, s.fingerprint}) {
				t.Errorf("%s: answer %d: drift %q, want %q; identity %+v", tt.name, i+1, got, s.want, id)
			}
		}
	}
}

// Names that calls ask for are told apart.
func TestServed_EachNameIsItsOwn(t *testing.T) {
	table := NewTable()
	for range 2 {
		for _, asked := range []string{"x", "y"} {
			if _, drift := table.Note(asked, []byte("serves "+asked), nil, begin, open); drift != nil {
				t.Errorf("%s: %+v", asked, drift)
			}
		}
	}
}

// A name that must not be told is not kept.
func TestServed_Secret(t *testing.T) {
	table := NewTable()
	table.Note("m", []byte("a"), []byte("1"), begin, open)
	id, drift := table.Note("m", []byte("a key"), []byte("1"), begin, func(text string) bool { return text == "akey" })
	if id != (Identity{"", "1"}) || drift != nil {
		t.Errorf("identity %+v, drift %+v", id, drift)
	}
}

// What hosts and callers send is bounded.
func TestServed_Bounded(t *testing.T) {
	table := NewTable()
	long := []byte(strings.Repeat("n", 1<<10))
	for i := range 3 * maxAsked {
		for j := range 3 * maxSeen {
			id, _ := table.Note(fmt.Sprint(i), append([]byte(fmt.Sprint(j, "-")), long...), long, begin, open)
			if len(id.Model) > MaxName || len(id.Fingerprint) > MaxName {
				t.Fatalf("%d and %d bytes are kept", len(id.Model), len(id.Fingerprint))
			}
		}
	}
	if n := len(table.asked.All()); n > maxAsked {
		t.Errorf("%d names are kept, want at most %d", n, maxAsked)
	}
}

// An answer that says nothing new costs no allocation, not even if hosts take turns.
func TestServed_Allocations(t *testing.T) {
	table := NewTable()
	model, one, two := []byte("model"), []byte("one"), []byte("two")
	note := func() {
		table.Note("m", model, one, begin, open)
		table.Note("m", model, two, begin, open)
		table.Note("m", model, nil, begin, open)
		table.Note("m", nil, one, begin, open)
	}
	note()
	if n := testing.AllocsPerRun(100, note); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A change is told once, however many answers have it at once.
func TestServed_ToldOnce(t *testing.T) {
	table := NewTable()
	table.Note("m", []byte("a"), []byte("1"), begin, open)
	var wg sync.WaitGroup
	var told sync.Map
	for i := range 16 {
		wg.Go(func() {
			for range 100 {
				if _, drift := table.Note("m", []byte("b"), []byte("2"), begin, open); drift != nil {
					told.Store(i, drift)
				}
			}
		})
	}
	wg.Wait()
	n := 0
	told.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Errorf("told %d times", n)
	}
}
