package exchange_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater/internal/exchange"
	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/test/fakehost"
)

// gone waits for an exchange to end, up to a time, and returns when it did.
func (s *sender) gone(within time.Duration) time.Duration {
	select {
	case <-s.Done():
		return time.Since(s.Start)
	case <-time.After(within):
		return -1
	}
}

// Without payload an exchange ends when its time is up and another endpoint could
// serve; and in what.
func TestDeadline_Expires(t *testing.T) {
	const never = -1
	for _, tt := range []struct {
		name      string
		within    time.Duration
		caller    time.Duration // its deadline; 0: it has none
		elsewhere time.Duration // from when on another endpoint can serve; never
		sentOnce  bool
		fallback  bool
		ends      time.Duration
		early     bool
	}{
		{"another endpoint", 30 * time.Second, 0, 0, false, false, 30 * time.Second, false},
		{"another endpoint, later", 30 * time.Second, 0, 35500 * time.Millisecond, false, false, 36 * time.Second, false},
		{"no other endpoint", 30 * time.Second, 0, never, false, false, never, false},
		{"another endpoint, but it may not", 30 * time.Second, 0, 0, true, false, never, false},
		{"no time at all", 0, 0, 0, false, false, never, false},
		{"no time at all, a caller with little time", 0, 20 * time.Second, 0, false, false, never, false},
		{"a caller with little time", 30 * time.Second, 20 * time.Second, 0, false, false, 10 * time.Second, true},
		{"a caller with much time", 30 * time.Second, 2 * time.Minute, 0, false, false, 30 * time.Second, false},
		{"a fallback", 30 * time.Second, 0, never, false, true, 30 * time.Second, false},
		{"a fallback, a caller with little time", 30 * time.Second, 20 * time.Second, never, false, true, 18 * time.Second, true},
		{"a fallback, at the very time", 30 * time.Second, 20500 * time.Millisecond, never, false, true, 18450 * time.Millisecond, true},
		{"a fallback, another endpoint", 30 * time.Second, 20 * time.Second, 0, false, true, 10 * time.Second, true},
		{"a fallback, a time without end", 1<<63 - 1, 20 * time.Second, never, false, true, 18 * time.Second, true},
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx := t.Context()
			if tt.caller > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, tt.caller)
				defer cancel()
			}
			s := send(ctx, policy)
			defer s.leave()
			s.sentOnce = tt.sentOnce
			if tt.elsewhere >= 0 {
				time.AfterFunc(tt.elsewhere, func() { s.serves(true) })
			}
			s.FirstPayload.Start(&s.Exchange, tt.within, tt.fallback)
			most := time.Hour
			if tt.caller > 0 {
				most = tt.caller - 1
			}
			if at := s.gone(most); at != tt.ends {
				t.Errorf("%s: it ended after %v, want %v", tt.name, at, tt.ends)
			}
			err, early := s.FirstPayload.Err()
			if tt.ends == never {
				if err != nil {
					t.Errorf("%s: Err = %v, want none", tt.name, err)
				}
				return
			}
			if !errors.Is(err, outcome.ErrNoFirstToken) || early != tt.early || context.Cause(s.Context) != err {
				t.Errorf("%s: Err = %v, %v and the context's cause %v, want ErrNoFirstToken, early: %v", tt.name, err, early, context.Cause(s.Context), tt.early)
			}
			if f := s.Interrupted(); f == nil || f.Class != outcome.NoFirstToken || f.Early != tt.early {
				t.Errorf("%s: Interrupted = %+v, want %s, early: %v", tt.name, f, outcome.NoFirstToken, tt.early)
			}
			if s.FirstPayload.Stop() {
				t.Errorf("%s: Stop = true behind the end", tt.name)
			}
		})
	}
}

// What was judged in time is not ended any more, even if it is judged before the
// clock starts: another attempt may have been faster.
func TestDeadline_Stop(t *testing.T) {
	for _, before := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			s := send(t.Context(), policy)
			defer s.leave()
			s.serves(true)
			stopped := !before || s.FirstPayload.Stop()
			s.FirstPayload.Start(&s.Exchange, 30*time.Second, false)
			time.Sleep(29 * time.Second)
			stopped = stopped && s.FirstPayload.Stop()
			if at := s.gone(time.Hour); at >= 0 || !stopped {
				t.Errorf("stopped before the start: %v: it ended after %v (Stop = %v), want never", before, at, stopped)
			}
			if f := s.Interrupted(); f != nil {
				t.Errorf("Interrupted = %+v, want none", f)
			}
		})
	}
}

// A clock that runs out as the response is judged ends nothing.
func TestDeadline_StopsWhileItExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := send(t.Context(), policy)
		defer s.leave()
		s.serves(true)
		s.onAsk = func() { s.FirstPayload.Stop() }
		s.FirstPayload.Start(&s.Exchange, time.Second, false)
		if at := s.gone(time.Hour); at >= 0 || s.timesAsked() != 1 {
			t.Errorf("it ended after %v and was asked for %d times, want never and once", at, s.timesAsked())
		}
	})
}

// A response that was there in time, and is judged too late, is not handed over.
func TestDeadline_ExpiresWhileJudging(t *testing.T) {
	for name, resp := range map[string]func(io.Reader) *fakehost.Body{
		fakehost.JSON:   func(late io.Reader) *fakehost.Body { return &fakehost.Body{Reader: late} },
		fakehost.Stream: func(late io.Reader) *fakehost.Body { return &fakehost.Body{Reader: late} },
		"packed":        func(io.Reader) *fakehost.Body { return &fakehost.Body{Reader: strings.NewReader("x")} },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := send(t.Context(), policy)
			defer s.leave()
			s.serves(true)
			s.FirstPayload.Start(&s.Exchange, time.Second, false)
			text := map[string]string{fakehost.JSON: fakehost.GoodJSON, fakehost.Stream: fakehost.GoodEvent}[name]
			came := resp(fakehost.ReaderFunc(func(p []byte) (int, error) { // a body that heeds no context
				time.Sleep(2 * time.Second)
				n := copy(p, text)
				text = text[n:]
				return n, map[bool]error{true: io.EOF}[text == ""]
			}))
			answer := fakehost.Answer(200, name, "")
			answer.Body = came
			if name == "packed" {
				answer.Header.Set("Content-Encoding", "br")
				time.Sleep(2 * time.Second)
			}
			got, f := s.Judge(answer, wantJSON)
			if got != nil || f == nil || f.Class != outcome.NoFirstToken {
				t.Errorf("%s: Judge = %v, %+v, want a failure of class %s", name, got, f, outcome.NoFirstToken)
			}
			if came.Closed() == 0 {
				t.Errorf("%s: the body was not closed", name)
			}
		})
	}
}

// A host may queue a JSON answer while it sends blank lines, and may pause within the
// answer, for as long as the policy says.
func TestDeadline_OfJSON(t *testing.T) {
	for _, tt := range []struct {
		name   string
		within time.Duration
		policy exchange.Policy
		parts  []string // one every 6 seconds
		ends   time.Duration
		class  outcome.Class
		err    error
	}{
		{"nothing", 30 * time.Second, policy, nil, 30 * time.Second, outcome.NoFirstToken, outcome.ErrNoFirstToken},
		{"blank lines", 30 * time.Second, policy, []string{"\n", "\n", "\n"}, 66 * time.Second, outcome.NoFirstToken, outcome.ErrNoFirstToken},
		{"a part", 30 * time.Second, policy, []string{"\n", "{"}, 22 * time.Second, outcome.Stalled, outcome.ErrStalled},
		{"parts", 30 * time.Second, policy, []string{"{", `"id"`, ":"}, 28 * time.Second, outcome.Stalled, outcome.ErrStalled},
		{"a part, and any time before it", 0, policy, []string{"{"}, 16 * time.Second, outcome.Stalled, outcome.ErrStalled},
		{"a part, and no clock behind it", 30 * time.Second, exchange.Policy{MaxBuffer: 1 << 10}, []string{"{"}, time.Hour, outcome.Canceled, context.Canceled},
		{"blank lines, and no clock behind them", 30 * time.Second, exchange.Policy{MaxBuffer: 1 << 10}, []string{"\n"}, time.Hour, outcome.Canceled, context.Canceled},
	} {
		synctest.Test(t, func(t *testing.T) {
			s := send(t.Context(), tt.policy)
			s.serves(true)
			s.FirstPayload.Start(&s.Exchange, tt.within, false)
			body := s.faucet("")
			go func() {
				for _, part := range tt.parts {
					time.Sleep(6 * time.Second)
					body.Send(part)
				}
			}()
			time.AfterFunc(time.Hour, s.leave)
			resp := fakehost.Answer(200, fakehost.JSON, "")
			resp.Body = body
			_, f := s.Judge(resp, wantJSON)
			if f == nil || f.Class != tt.class || !errors.Is(f.Err, tt.err) || time.Since(s.Start) != tt.ends {
				t.Errorf("%s: the failure is %+v after %v, want %s, %v after %v", tt.name, f, time.Since(s.Start), tt.class, tt.err, tt.ends)
			}
			if !body.Closed() {
				t.Errorf("%s: the body was not closed", tt.name)
			}
			time.Sleep(time.Minute) // for the parts
		})
	}
}

// Who leaves, or is out of time, is the reason for whatever follows.
func TestExchange_LeftByCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("why")
		canceled, cancel := context.WithCancelCause(t.Context())
		cancel(why)
		expired, stop := context.WithTimeout(t.Context(), time.Second)
		defer stop()
		time.Sleep(time.Second)
		late := lateContext{t.Context(), time.Now()}
		for _, tt := range []struct {
			name   string
			caller context.Context
			class  outcome.Class
			err    error
			early  bool
		}{
			{"nothing", t.Context(), "", nil, false},
			{"canceled", canceled, outcome.Canceled, why, false},
			{"out of time", expired, outcome.Deadline, context.DeadlineExceeded, true},
			{"out of time, whose timer is late", late, outcome.Deadline, context.DeadlineExceeded, true},
		} {
			s := send(t.Context(), policy)
			s.Caller = tt.caller
			switch f := s.Interrupted(); {
			case f == nil && tt.class == "":
			case f == nil || f.Class != tt.class || !errors.Is(f, tt.err) || f.Early != tt.early || f.Error() != string(tt.class):
				t.Errorf("%s: Interrupted = %+v, want %s, %v, early: %v", tt.name, f, tt.class, tt.err, tt.early)
			}
			s.leave()
		}
	})
}

// A lateContext has a deadline and has not ended at it.
type lateContext struct {
	context.Context
	deadline time.Time
}

func (c lateContext) Deadline() (time.Time, bool) { return c.deadline, true }
