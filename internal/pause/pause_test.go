package pause

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"
)

// start is when the tests begin.
var start = time.Unix(1e9, 0)

// newTable returns a table whose notes are texts.
func newTable() *Table[string, []byte] {
	return New[string](func(note *[]byte) int { return len(*note) })
}

func note(n int) *[]byte {
	text := make([]byte, n)
	return &text
}

// Whatever happens in whatever order, a pause that a server asked for lasts as
// long as it asked, and one that was earned, if nothing has recovered since, as
// long as was earned. No pause lasts longer.
func TestPause_IsNeverShortened(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 2))
		table, now := newTable(), start
		keys := []string{"a", "b", "c"}
		asked := make(map[string]time.Time)
		earned := make(map[string]time.Time)
		var events []string
		happens := func(format string, args ...any) { events = append(events, fmt.Sprintf(format, args...)) }
		for range 60 {
			key := keys[random.IntN(len(keys))]
			d := time.Duration(random.Int64N(int64(30 * time.Second)))
			switch random.IntN(5) {
			case 0:
				happens("%s asks for %v", key, d)
				table.Ask(key, now, d, nil)
				asked[key] = later(asked[key], now.Add(d))
			case 1, 2:
				d = table.Penalize(key, now, now, d, 8*time.Second, nil)
				happens("%s earns %v", key, d)
				earned[key] = later(earned[key], now.Add(d))
			case 3:
				happens("%s recovers", key)
				table.Recover(key, now)
				delete(earned, key)
			case 4:
				happens("%v pass", d/4)
				now = now.Add(d / 4)
			}
			for _, key := range keys {
				until := later(asked[key], earned[key])
				p, ok := table.Get(key, now)
				if ok != until.After(now) || ok && !p.Until.Equal(until) {
					t.Fatalf("seed %d: %s is paused: %v, for %v; want %v; events:\n%s", seed, key, ok, p.Until.Sub(now), until.Sub(now), strings.Join(events, "\n"))
				}
			}
		}
	}
}

// Penalties double in a row, up to a longest, and begin anew after a recovery.
func TestPause_PenaltiesDouble(t *testing.T) {
	table, now := newTable(), start
	penalize := func() time.Duration {
		d := table.Penalize("a", now, now, time.Second, 10*time.Second, nil)
		if p, ok := table.Get("a", now); !ok || p.Until.Sub(now) != d {
			t.Errorf("a penalty of %v pauses for %v", d, p.Until.Sub(now))
		}
		now = now.Add(d)
		return d
	}
	var got []time.Duration
	for range 6 {
		got = append(got, penalize())
	}
	table.Recover("a", now)
	got = append(got, penalize(), penalize())
	if want := "[1s 2s 4s 8s 10s 10s 1s 2s]"; fmt.Sprint(got) != want {
		t.Errorf("pauses %v, want %s", got, want)
	}
	// A recovery ends the row also while a server's word stands.
	now = now.Add(time.Hour)
	table.Ask("a", now, time.Minute, nil)
	table.Recover("a", now)
	if p, ok := table.Get("a", now); !ok || p.Until.Sub(now) != time.Minute {
		t.Errorf("a recovery left the pause %v %v, want the minute asked for", p.Until.Sub(now), ok)
	}
	now = now.Add(time.Hour)
	if d := penalize(); d != time.Second {
		t.Errorf("the first pause after a recovery is %v, want 1s", d)
	}
	for range 100 { // no overflow
		penalize()
	}
}

func TestPause_LongestPenalties(t *testing.T) {
	for _, longest := range []time.Duration{math.MaxInt64/2 + 1, math.MaxInt64 - 1, math.MaxInt64} {
		table := newTable()
		want := time.Second
		for n := range 100 {
			if d := table.Penalize("a", start, start, time.Second, longest, nil); d != want && (d != longest || want < longest/4) {
				t.Fatalf("longest %v: penalty %d is %v, want %v", longest, n+1, d, want)
			}
			if want <= longest/2 {
				want *= 2
			}
		}
	}
}

// A note belongs to the event that set the end of the pause.
func TestPause_NoteOfTheLongest(t *testing.T) {
	table := newTable()
	short, long := note(1), note(2)
	table.Ask("a", start, time.Minute, long)
	table.Penalize("a", start, start, time.Second, time.Second, short)
	table.Ask("a", start, 2*time.Second, nil)
	if p, _ := table.Get("a", start); p.Note != long {
		t.Error("a shorter pause replaced the note")
	}
	table.Ask("a", start, time.Hour, short)
	if p := table.List(start)["a"]; p.Note != short || !p.Asked.Equal(start.Add(time.Hour)) {
		t.Errorf("a longer pause did not replace the note: %+v", p)
	}
	if n := len(table.List(start.Add(time.Hour))); n != 0 {
		t.Errorf("%d pauses are listed when all are over", n)
	}
}

// A table in which nothing is paused any more says so without a lock.
func TestPause_RecoveredIsForgotten(t *testing.T) {
	table := newTable()
	table.Ask("a", start, time.Minute, nil)
	if table.Recover("a", start.Add(time.Second)); !table.Any() {
		t.Error("a pause asked for ended with a recovery")
	}
	table.mu.Lock()
	any := table.Any()
	table.mu.Unlock()
	if table.Recover("a", start.Add(time.Hour)); !any || table.Any() {
		t.Error("a pause that is over is kept after a recovery")
	}
	table.Recover("b", start)
}

// The number of pauses is bounded; those that last longest are kept, and none
// that is over comes back.
func TestPause_Bounded(t *testing.T) {
	table, now := newTable(), start
	const all = maxPauses + 500
	for n := range all {
		table.Ask(fmt.Sprint(n), now, time.Hour+time.Duration(n)*time.Second, nil)
	}
	if n := len(table.all); n > maxPauses {
		t.Errorf("%d pauses are kept, want at most %d", n, maxPauses)
	}
	if _, ok := table.Get(fmt.Sprint(all-1), now); !ok {
		t.Error("the longest pause was given up")
	}
	now = now.Add(2 * time.Hour)
	table.Ask("one more", now, time.Hour, nil)
	for n := range all {
		p, ok := table.Get(fmt.Sprint(n), now)
		if want := time.Duration(n)*time.Second > time.Hour && n >= all-maxPauses; ok && !want {
			t.Fatalf("pause %d of %v is still there", n, p.Until.Sub(now))
		}
	}
}

// What was asked for is kept before what was earned, however long that lasts.
func TestPause_EarnedGoesFirst(t *testing.T) {
	table := newTable()
	table.Ask("asked", start, time.Second, nil)
	for n := range 2 * maxPauses {
		table.Penalize(fmt.Sprint(n), start, start, time.Hour, time.Hour, nil)
	}
	if _, ok := table.Get("asked", start); !ok {
		t.Error("a pause that a server asked for was given up for those earned")
	}
}

// Notes are kept within a bound of all of them, however many and in whatever
// way they come. The pauses stay, and those that last longest keep their notes.
func TestPause_NotesAreBounded(t *testing.T) {
	table, now := newTable(), start
	long := note(16 << 10)
	held := func() (bytes int) {
		for _, p := range table.all {
			bytes += table.size(p.Note)
		}
		return bytes
	}
	const all = maxPauses / 2
	for n := range all {
		table.Ask(fmt.Sprint(n), now, time.Hour+time.Duration(n)*time.Second, long)
		if n%100 == 0 && held() > maxNoteBytes {
			t.Fatalf("%d bytes of notes are kept, want at most %d", held(), maxNoteBytes)
		}
	}
	if p, ok := table.Get("0", now); !ok || p.Note != nil || len(table.all) != all {
		t.Errorf("the first pause: %v, with a note: %v, %d pauses in all; want all, and its note gone", ok, p.Note != nil, len(table.all))
	}
	if p, _ := table.Get(fmt.Sprint(all-1), now); p.Note != long {
		t.Error("the note of the longest pause is gone")
	}
	for n := range all { // longer, over, recovered, removed: what is counted is what is kept
		switch key := fmt.Sprint(n); n % 4 {
		case 0:
			table.Ask(key, now, 2*time.Hour, note(n))
		case 1:
			table.Recover(key, now.Add(12*time.Hour))
		case 2:
			table.Recover(key, now)
		}
	}
	for n := range 2 * maxPauses {
		table.Penalize(fmt.Sprint(-n), now, now, time.Minute, time.Hour, note(n%100))
	}
	if table.noteBytes != held() || table.noteBytes > maxNoteBytes || len(table.all) > maxPauses {
		t.Errorf("%d bytes are counted, %d kept, by %d pauses", table.noteBytes, held(), len(table.all))
	}
}

// Where all last, room for a flood of new ones is made for many at once: a look
// at all of them for each would cost more than the calls.
func TestPause_RoomIsMadeForMany(t *testing.T) {
	table := newTable()
	looks := 0
	for n := range 3 * maxPauses {
		before := len(table.all)
		table.Ask(fmt.Sprint(n), start, time.Hour+time.Duration(n)*time.Second, nil)
		if len(table.all) <= before {
			looks++
		}
	}
	if looks > 2*8+1 {
		t.Errorf("room was made %d times for %d pauses above the bound", looks, 2*maxPauses)
	}
}

// A longer pause of a key that is there needs no room.
func TestPause_ExtendingNeedsNoRoom(t *testing.T) {
	table := newTable()
	table.Ask("mine", start, time.Minute, nil)
	for n := range maxPauses - 1 {
		table.Ask(fmt.Sprint(n), start, time.Hour, nil)
	}
	for range 10 {
		table.Ask("0", start, 2*time.Hour, nil)
	}
	if p, ok := table.Get("mine", start); !ok || p.Until.Sub(start) != time.Minute {
		t.Errorf("a pause that was asked for was given up for one that was there: %v %v", p.Until.Sub(start), ok)
	}
}

func TestPause_UnderLoad(t *testing.T) {
	table, now := newTable(), start
	table.Ask("a", now, time.Minute, nil)
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			for range 500 {
				table.Penalize("a", now, now, time.Millisecond, time.Second, nil)
				table.Recover("a", now)
				table.List(now)
				if p, ok := table.Get("a", now); !ok || p.Until.Sub(now) < time.Minute {
					t.Errorf("the pause asked for was shortened to %v", p.Until.Sub(now))
					return
				}
			}
		})
	}
	callers.Wait()
}

// Those who wait for the end of a pause draw turns; with a longer pause these begin again.
func TestTable_Turns(t *testing.T) {
	now := time.Now()
	table := New[string](func(*int) int { return 0 })
	turns := func(key string, want int) {
		t.Helper()
		if turn := table.Turn(key); turn != want {
			t.Errorf("turn %d, want %d", turn, want)
		}
	}
	turns("a", 0)
	table.Ask("a", now, 10*time.Second, nil)
	turns("a", 0)
	turns("a", 1)
	turns("b", 0)
	table.Ask("a", now, 5*time.Second, nil) // no longer than the other
	turns("a", 2)
	table.Ask("a", now, 11*time.Second, nil)
	turns("a", 0)
}

func TestTable_PenalizeOnce(t *testing.T) {
	now := time.Now()
	table := New[string](func(*int) int { return 0 })
	for _, tt := range []struct {
		at   time.Duration
		want time.Duration
	}{{0, time.Second}, {0, 0}, {time.Second - 1, 0}, {time.Second, 2 * time.Second}, {3 * time.Second, 3 * time.Second}} {
		if got, ok := table.PenalizeOnce("a", now.Add(tt.at), time.Second, 3*time.Second, nil); got != tt.want || ok != (tt.want > 0) {
			t.Errorf("after %v: %v, %v, want %v", tt.at, got, ok, tt.want)
		}
	}
}

// What had begun before the latest penalty is a part of the same trouble.
func TestPause_BurstsCountOnce(t *testing.T) {
	start := time.Now()
	table := New[string](func(*int) int { return 0 })
	for _, tt := range []struct{ began, now, want time.Duration }{
		{0, time.Second, time.Second},
		{0, time.Second, time.Second},
		{time.Second - 1, 3 * time.Second, time.Second}, // late, and it extends the pause
		{4 * time.Second, 5 * time.Second, 2 * time.Second},
		{4 * time.Second, 6 * time.Second, 2 * time.Second},
		{6 * time.Second, 7 * time.Second, 4 * time.Second},
		{20 * time.Second, 21 * time.Second, 8 * time.Second},
		{40 * time.Second, 41 * time.Second, 10 * time.Second},
		{40 * time.Second, 42 * time.Second, 10 * time.Second},
	} {
		got := table.Penalize("a", start.Add(tt.began), start.Add(tt.now), time.Second, 10*time.Second, nil)
		if p, _ := table.Get("a", start); got != tt.want || p.Until.Before(start.Add(tt.now+tt.want)) {
			t.Errorf("began %v, refused %v: a pause of %v until %v, want %v", tt.began, tt.now, got, p.Until.Sub(start), tt.want)
		}
	}
	table.Recover("a", start.Add(100*time.Second))
	if got := table.Penalize("a", start, start.Add(101*time.Second), time.Second, 10*time.Second, nil); got != time.Second {
		t.Errorf("after an answer, a pause of %v, want the shortest", got)
	}
}

// Longest finds the pause that ends last among those that are asked for, and none that is over.
func TestTable_Longest(t *testing.T) {
	table, now := newTable(), start
	for key, d := range map[string]time.Duration{"a1": time.Second, "a2": 3 * time.Second, "a3": 2 * time.Second, "b": time.Minute} {
		table.Ask(key, now, d, nil)
	}
	ofA := func(key string, _ *Pause[[]byte]) bool { return strings.HasPrefix(key, "a") }
	if key, p, ok := table.Longest(now, ofA); !ok || key != "a2" || !p.Until.Equal(now.Add(3*time.Second)) || !p.Since.Equal(now) {
		t.Errorf("Longest = %s, %+v, %v, want a2 for three seconds", key, p, ok)
	}
	if key, _, ok := table.Longest(now.Add(3*time.Second), ofA); ok {
		t.Errorf("Longest = %s when all are over", key)
	}
}
