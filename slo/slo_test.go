package slo

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater"
)

// New names what cannot be meant.
func TestNew_NamesMistakes(t *testing.T) {
	_, err := New(Objectives{Availability: 99.95, ErrorShare: -0.1, FirstPayload: 30, Whole: -time.Second})
	for _, want := range []string{"Objectives.Availability: 99.95", "Objectives.ErrorShare: -0.1", "Objectives.FirstPayload: 30ns", "Objectives.Whole: -1s"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New = %v, want a word on %s", err, want)
		}
	}
	for _, o := range []Objectives{{}, {Availability: 0.99, ErrorShare: 0.01, FirstPayload: time.Second, Whole: time.Minute}} {
		if _, err := New(o); err != nil {
			t.Errorf("New(%+v) = %v", o, err)
		}
	}
}

// outcomes of calls, and of attempts.
var (
	good    = breakwater.Event{Kind: breakwater.KindEnd, Class: breakwater.ClassOK, Elapsed: 2 * time.Second, FirstToken: time.Second}
	broken  = breakwater.Event{Kind: breakwater.KindEnd, Class: breakwater.ClassTruncated, Fault: breakwater.FaultHost, Elapsed: time.Second, FirstToken: time.Second}
	limited = breakwater.Event{Kind: breakwater.KindEnd, Class: breakwater.ClassLimited, Fault: breakwater.FaultLocal}
	wrong   = breakwater.Event{Kind: breakwater.KindEnd, Class: breakwater.ClassRefused, Fault: breakwater.FaultCaller}
	left    = breakwater.Event{Kind: breakwater.KindEnd, Class: breakwater.ClassCanceled, Fault: breakwater.FaultCaller}
)

func (t *Tracker) tell(n int, e breakwater.Event) {
	e.Time = time.Now()
	for range n {
		t.Observe(context.Background(), e)
	}
}

func tracker(t *testing.T, o Objectives) *Tracker {
	t.Helper()
	tr, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// Windows slide: what ended longer ago than a window is long counts in the longer ones only.
func TestTracker_WindowsSlide(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := tracker(t, Objectives{})
		failed := func() (all []uint64) {
			for _, w := range tr.Report().Windows {
				all = append(all, w.Failed)
			}
			return all
		}
		for _, tt := range []struct {
			after time.Duration
			more  int
			want  string
		}{
			{0, 3, "[3 3 3 3]"},
			{4 * time.Minute, 1, "[4 4 4 4]"},
			{2 * time.Minute, 0, "[1 4 4 4]"},
			{55 * time.Minute, 1, "[1 2 5 5]"},
			{6 * time.Hour, 1, "[1 1 1 6]"},
			{20 * 24 * time.Hour, 2, "[2 2 2 8]"},
			{11 * 24 * time.Hour, 0, "[0 0 0 2]"},
			{100 * 24 * time.Hour, 1, "[1 1 1 1]"},
		} {
			time.Sleep(tt.after)
			tr.tell(tt.more, broken)
			if got := fmt.Sprint(failed()); got != tt.want {
				t.Errorf("at %v: failed %s, want %s", time.Now(), got, tt.want)
			}
		}
	})
}

// The caller's own mistakes and cancels are apart; a program's own limit is a failure.
func TestTracker_WhoseFault(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := tracker(t, Objectives{})
		tr.tell(9990, good)
		tr.tell(6, broken)
		tr.tell(4, limited)
		tr.tell(100, wrong)
		tr.tell(50, left)
		for _, w := range tr.Report().Windows {
			if w.Answered != 9990 || w.Failed != 10 || w.Mistaken != 100 || w.Canceled != 50 {
				t.Errorf("%+v", w)
			}
			if a, e := fmt.Sprintf("%.4f", w.Availability()), fmt.Sprintf("%.4f", w.ErrorShare()); a != "0.9990" || e != "0.0010" {
				t.Errorf("availability %s, errors %s", a, e)
			}
			if b := fmt.Sprintf("%.3f", w.BurnRate); b != "2.000" {
				t.Errorf("burn rate %s, want 2.000", b)
			}
		}
	})
}

// The budget of 30 days and 99.95 % is 21.6 minutes of outage.
func TestTracker_Budget(t *testing.T) {
	for failed, want := range map[int]string{0: "0.00 21.6", 1: "0.20 17.3", 5: "1.00 0.0", 10: "2.00 -21.6"} {
		synctest.Test(t, func(t *testing.T) {
			tr := tracker(t, Objectives{})
			tr.tell(10_000-failed, good)
			tr.tell(failed, broken)
			b := tr.Report().Budget
			if got := strings.Replace(fmt.Sprintf("%.2f %.1f", b.Spent, b.Left.Minutes()), "-0.0", "0.0", 1); got != want {
				t.Errorf("%d of 10,000 failed: spent, and minutes left: %s, want %s", failed, got, want)
			}
		})
	}
}

// Endpoints are counted by their attempts; those that were not sent do not count.
func TestTracker_Endpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := tracker(t, Objectives{})
		attempt := func(endpoint string, e breakwater.Event) {
			e.Kind, e.Endpoint = breakwater.KindAttempt, endpoint
			tr.tell(1, e)
		}
		sent := func(e breakwater.Event) breakwater.Event { e.Attempt = 1; return e }
		attempt("a", sent(broken))
		attempt("a", limited) // not sent
		attempt("b", sent(good))
		for n := range 10_000 {
			attempt(fmt.Sprint("made-up-", n), sent(good))
		}
		r := tr.Report()
		if len(r.Endpoints) != maxEndpoints+1 || r.Endpoints[0].Endpoint != "a" || r.Endpoints[0].Windows[0].Failed != 1 || r.Windows[0].Failed != 0 {
			t.Errorf("%d endpoints, the first %+v", len(r.Endpoints), r.Endpoints[0])
		}
		var all uint64
		for _, e := range r.Endpoints {
			all += e.Windows[3].Answered
		}
		if all != 10_001 {
			t.Errorf("%d attempts are counted, want 10001", all)
		}
	})
}

// Reports name the objectives that are missed, and are well-formed in each form.
func TestReport_Forms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := tracker(t, Objectives{FirstPayload: 500 * time.Millisecond, Whole: time.Minute})
		tr.tell(998, good)
		tr.tell(2, broken)
		tr.tell(1, breakwater.Event{Kind: breakwater.KindAttempt, Endpoint: "a|b", Attempt: 1, Class: breakwater.ClassOK, Elapsed: time.Second})
		r := tr.Report()
		missed := strings.Join(r.Missed(), "\n")
		for _, want := range []string{"availability over 30 d is 99.800 %, the objective is 99.950 %", "errors over 5 min are 0.200 %", "P99 to the first payload over 1 h is 1.01 s, the objective is 0.5 s"} {
			if !strings.Contains(missed, want) {
				t.Errorf("missed:\n%s\nwant %s", missed, want)
			}
		}
		if strings.Contains(missed, "to the end") {
			t.Errorf("missed:\n%s", missed)
		}
		var text, markdown strings.Builder
		if r.WriteText(&text) != nil || r.WriteMarkdown(&markdown) != nil {
			t.Fatal("they were not written")
		}
		if !strings.Contains(text.String(), "overspent: 400 %") || !strings.Contains(markdown.String(), `| a\|b | 5 min |`) {
			t.Errorf("got\n%s\n%s", text.String(), markdown.String())
		}
		data, err := json.Marshal(r)
		var back map[string]any
		if err != nil || json.Unmarshal(data, &back) != nil {
			t.Fatalf("%s, %v", data, err)
		}
		window := back["windows"].([]any)[0].(map[string]any)
		if window["availability"] != 0.998 || window["seconds"] != 300.0 || window["first_payload"].(map[string]any)["p99_seconds"].(float64) < 0.9 {
			t.Errorf("got %s", data)
		}
		if strings.Contains(string(data), "0001-01-01") {
			t.Errorf("a zero time: %s", data)
		}
	})
}

// Memory does not grow with time and calls.
func TestTracker_MemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := tracker(t, Objectives{})
		fill := func() {
			for range 40 * 24 * 6 { // 40 days
				e := good
				e.FirstToken, e.Elapsed = rand.N(time.Minute), rand.N(time.Hour)
				tr.tell(1, e)
				time.Sleep(10 * time.Minute)
			}
		}
		fill()
		first := heap()
		fill()
		if second := heap(); second > first+100_000 {
			t.Errorf("memory grew from %d to %d bytes", first, second)
		}
		runtime.KeepAlive(tr)
	})
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func BenchmarkObserve(b *testing.B) {
	tr, err := New(Objectives{})
	if err != nil {
		b.Fatal(err)
	}
	attempt := breakwater.Event{Kind: breakwater.KindAttempt, Endpoint: "a", Attempt: 1, Class: breakwater.ClassOK, Elapsed: time.Second, FirstToken: time.Second}
	b.ReportAllocs()
	for b.Loop() {
		now := time.Now()
		attempt.Time, good.Time = now, now
		tr.Observe(context.Background(), attempt)
		tr.Observe(context.Background(), good)
	}
}
