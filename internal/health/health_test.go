package health

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestReadBalance(t *testing.T) {
	for _, tt := range []struct {
		body, want string
	}{
		{`{"is_available":true,"balance_infos":[{"currency":"CNY","total_balance":"110.00","granted_balance":"10.00","topped_up_balance":"100.00"}]}`, "yes 110 CNY"},
		{`{"is_available":false,"balance_infos":[{"currency":"USD","total_balance":"-0.02"},{"currency":"CNY","total_balance":"0.00"}]}`, "no 0 CNY"},
		{`{"is_available":true,"balance_infos":[]}`, "yes"},
		{`{"is_available":true,"balance_infos":[{"currency":"sk-secret","total_balance":"1"},{"currency":"CNY","total_balance":"NaN"},{"currency":"USD","total_balance":1e999}]}`, "yes"},
		{`{"availableBalance":"25000","cashBalance":"0"}`, "yes 2.5 USD"},
		{`{"availableBalance":"-1"}`, "no -0.0001 USD"},
		{`{"is_available":"yes"}`, ""},
		{`<html>`, ""},
		{``, ""},
		{`[1]`, ""},
	} {
		funds, balance := ReadBalance([]byte(tt.body))
		got := string(funds)
		if balance != nil {
			got += fmt.Sprintf(" %v %s", balance.Amount, balance.Currency)
		}
		if got != tt.want {
			t.Errorf("%s is %q, want %q", tt.body, got, tt.want)
		}
	}
}

func TestReadModels(t *testing.T) {
	for _, tt := range []struct {
		body    string
		missing []string // of a and b
		none    bool
	}{
		{body: `{"object":"list","data":[{"id":"a"},{"id":"b"}]}`},
		{body: `{"object":"list","data":[{"id":"a"}]}`, missing: []string{"b"}},
		{body: `{"data":[{"id":"a"}],"has_more":true}`},
		{body: `{"data":[]}`},
		{body: `{"data":[{"id":1},{"name":"b"},3]}`},
		{body: `{"error":{"message":"no"}}`, none: true},
		{body: `<html>`, none: true},
		{body: `{"data":[],"x":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + `}`, none: true}, // readers would recurse as deep
		{body: `{"data":[{"id":"` + strings.Repeat("x", 1000) + `"},{"id":"b"}]}`, missing: []string{"a"}},
	} {
		m := ReadModels([]byte(tt.body))
		if m == nil {
			if !tt.none {
				t.Errorf("%.80s is no list", tt.body)
			}
			continue
		}
		if missing := m.missing([]string{"b", "a"}); tt.none || !slices.Equal(missing, tt.missing) {
			t.Errorf("%.80s lacks %q, want %q", tt.body, missing, tt.missing)
		}
	}
}

// Only what is new is news; a first finding is, if it is bad.
func TestState_News(t *testing.T) {
	var s State
	now := time.Unix(1e9, 0)
	for i, tt := range []struct {
		result Result
		news   bool
	}{
		{Result{Reachable: Yes, Credential: Yes}, false},
		{Result{Reachable: Yes, Credential: Yes}, false},
		{Result{Reachable: No}, true},
		{Result{Reachable: No}, false},
		{Result{Reachable: Yes, Credential: No}, true},
		{Result{Reachable: Yes}, false},
		{Result{Reachable: Yes, Models: &Models{Names: map[string]bool{"x": true}}}, true},
		{Result{Reachable: Yes, Models: &Models{Names: map[string]bool{"m": true}}}, true},
		{Result{Reachable: Yes, Credential: Yes}, true},
	} {
		now = now.Add(time.Minute)
		if c := s.Note(now, tt.result, []string{"m"}, 0); c.News != tt.news {
			t.Errorf("%d: %+v is news: %v, want %v", i, tt.result, c.News, tt.news)
		}
	}
	if st := s.Status(); st.Reachable != Yes || st.Credential != Yes || !st.Checked.Equal(now) || st.Missing != nil {
		t.Errorf("the status is %+v", st)
	}
	s.Answered(now.Add(-time.Hour), true) // too late
	s.Note(now, Result{Reachable: No, Credential: No}, nil, 0)
	s.Answered(now.Add(time.Minute), true)
	if st := s.Status(); st.Reachable != Yes || st.Credential != Yes || s.Refusing() {
		t.Errorf("after an answer the status is %+v", st)
	}
}

// A balance falls by what is spent; money that comes in begins anew.
func TestState_Balance(t *testing.T) {
	var s State
	now := time.Unix(1e9, 0)
	amount := 100.0
	lows := 0
	step := func(spent float64) {
		now, amount = now.Add(10*time.Minute), amount-spent
		funds := Yes
		if amount <= 0 {
			funds = No
		}
		if s.Note(now, Result{Reachable: Yes, Funds: funds, Balance: &Balance{Amount: amount, Currency: "CNY"}}, nil, 20).Low {
			lows++
		}
	}
	for range 3 {
		step(1)
	}
	if b := s.Status().Balance; b.PerHour != 0 {
		t.Errorf("after 20 minutes: %+v, want no trend yet", b)
	}
	for range 21 {
		step(1)
	}
	if b := s.Status().Balance; b.Amount != 76 || b.PerHour < 5.99 || b.PerHour > 6.01 || b.Left < 12*time.Hour || b.Left > 13*time.Hour {
		t.Errorf("at 6 an hour: %+v", b)
	}
	for range 60 {
		step(1)
	}
	if lows != 1 {
		t.Errorf("told %d times that it is low, want once", lows)
	}
	step(-100) // money comes in
	if b := s.Status().Balance; b.PerHour != 0 || b.Left != 0 {
		t.Errorf("after money came in: %+v", b)
	}
	for range 120 {
		step(1)
	}
	if lows != 2 {
		t.Errorf("told %d times that it is low, want twice", lows)
	}
	if n := len(s.samples); n > int(trendOver/sampleGap)+1 {
		t.Errorf("%d samples are kept", n)
	}
	if d := lasts(1e18, 1e-9); d != 365*24*time.Hour {
		t.Errorf("much lasts %v", d)
	}
}
