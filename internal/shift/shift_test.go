package shift

import (
	"fmt"
	"math"
	"testing"
	"time"
)

var start = time.Unix(1_800_000_000, 0)

const floor = 0.1

// hears lets a new share hear of so many attempts, one each interval, of which every nth is in
// trouble; 0: none is. It returns the time after them.
func (x *Share) hears(attempts, nth int, every time.Duration, now time.Time) time.Time {
	for n := range attempts {
		now = now.Add(every)
		x.Note(nth > 0 && n%nth == 0, now, floor)
	}
	return now
}

// A share goes down by halves, a dwell apart, to the floor, and comes back by tenths.
func TestShare_Steps(t *testing.T) {
	x, now := NewSet().Get("m"), start
	var down, up []float64
	last := 1.0
	note := func(list *[]float64) {
		if share := x.Of(now, floor); share != last {
			*list, last = append(*list, math.Round(share*1000)/1000), share
		}
	}
	var changed []time.Time
	for range 400 { // 10 a second, and every third is late
		now = x.hears(3, 3, 100*time.Millisecond, now)
		if before := len(down); true {
			note(&down)
			if len(down) > before {
				changed = append(changed, now)
			}
		}
	}
	if fmt.Sprint(down) != "[0.5 0.25 0.125 0.1]" {
		t.Errorf("in trouble, the share went %v", down)
	}
	for i := 1; i < len(changed); i++ {
		if d := changed[i].Sub(changed[i-1]); d < Chosen.Dwell {
			t.Errorf("two steps are %v apart", d)
		}
	}
	for range 1000 {
		now = x.hears(1, 0, 100*time.Millisecond, now)
		note(&up)
	}
	if fmt.Sprint(up) != "[0.2 0.3 0.4 0.5 0.6 0.7 0.8 0.9 1]" {
		t.Errorf("well again, the share went %v", up)
	}
}

// Few failures, or many in a row of an endpoint whose share they do not concern any more, take
// nothing.
func TestShare_Stays(t *testing.T) {
	for _, tt := range []struct {
		name  string
		do    func(x *Share) time.Time
		share float64
	}{
		{"nothing was heard", func(*Share) time.Time { return start }, 1},
		{"all well", func(x *Share) time.Time { return x.hears(1000, 0, time.Second, start) }, 1},
		{"every tenth", func(x *Share) time.Time { return x.hears(1000, 10, time.Second, start) }, 1},
		{"every third", func(x *Share) time.Time { return x.hears(1000, 3, time.Second, start) }, floor},
		{"four in a row", func(x *Share) time.Time { return x.hears(4, 1, time.Second, start) }, 1},
		{"five in a row", func(x *Share) time.Time { return x.hears(5, 1, time.Second, start) }, 0.5},
		{"a burst of a hundred is one step", func(x *Share) time.Time { return x.hears(100, 1, 0, start.Add(time.Hour)) }, 0.5},
		{"three minutes ago", func(x *Share) time.Time { return x.hears(5, 1, time.Second, start).Add(3 * time.Minute) }, 0.8},
		{"an hour ago", func(x *Share) time.Time { return x.hears(1000, 1, time.Second, start).Add(time.Hour) }, 1},
		{"two a minute", func(x *Share) time.Time { return x.hears(100, 1, 61*time.Second, start) }, 1},
		{"a clock that goes back", func(x *Share) time.Time { x.hears(5, 1, -time.Hour, start.Add(9*time.Hour)); return start }, 0.5},
	} {
		t.Run(tt.name, func(t *testing.T) {
			x := NewSet().Get("m")
			if share := x.Of(tt.do(x), floor); math.Abs(share-tt.share) > 1e-9 {
				t.Errorf("the share is %v, want %v", share, tt.share)
			}
		})
	}
	var none *Share
	if none.Of(start, floor) != 1 || (*Set)(nil).Lookup("m").Of(start, floor) != 1 || len((*Set)(nil).Status(start, floor)) > 0 {
		t.Error("without a share, a part is missing")
	}
}

// An endpoint with a small share and few attempts need not wait for many of them.
func TestShare_ComesBackWithFewAttempts(t *testing.T) {
	x := NewSet().Get("m")
	now := x.hears(1000, 3, 100*time.Millisecond, start)
	attempts := 0
	for ; x.Of(now, floor) == floor; attempts++ {
		now = x.hears(1, 0, 5*time.Second, now)
	}
	if attempts > 8 {
		t.Errorf("it came back after %d attempts in %d s, want at most 8", attempts, 5*attempts)
	}
}

// Names of models come from callers: those of well endpoints do not displace that of a sick one.
func TestSet_IsBounded(t *testing.T) {
	s := NewSet()
	now := s.Get("sick").hears(50, 1, time.Second, start)
	for n := range 10 * maxModels {
		s.Get(fmt.Sprint(n)).Note(false, now, floor)
	}
	if got := s.Status(now, floor); len(got) != 1 || got[0].Model != "sick" || got[0].Share != floor || got[0].Trouble < 0.5 {
		t.Errorf("the status is %+v, want the sick one's", got)
	}
	n := 0
	for range s.all.All() {
		n++
	}
	if n > maxModels {
		t.Errorf("%d shares are kept", n)
	}
}

// Conversations are drawn evenly, and the same way each time.
func TestDraw(t *testing.T) {
	const n = 10_000
	below := 0
	for key := range uint64(n) {
		u := Draw(key)
		if u < 0 || u >= 1 || u != Draw(key) {
			t.Fatalf("drew %v", u)
		}
		if u < 0.3 {
			below++
		}
	}
	if share := float64(below) / n; math.Abs(share-0.3) > 0.02 {
		t.Errorf("%.3f of the conversations are below 0.3", share)
	}
}

// What a call pays for shares: one look at the endpoint's, and one note.
//
//	go test -bench . -run ^$ ./internal/shift
func BenchmarkShare(b *testing.B) {
	for name, whole := range map[string]bool{"whole": true, "reduced": false} {
		b.Run(name, func(b *testing.B) {
			s, now := NewSet(), start
			if !whole {
				now = s.Get("m").hears(1000, 1, time.Second, start)
			}
			b.ReportAllocs()
			for b.Loop() {
				s.Lookup("m").Of(now, floor)
				s.Get("m").Note(!whole, now, floor)
			}
		})
	}
}
