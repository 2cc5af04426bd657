package breakwater

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"
)

// Ready says whether some endpoint could take a call, without asking one.
func TestReady(t *testing.T) {
	type moment struct {
		after time.Duration
		want  Class // empty: ready
		retry time.Duration
	}
	asksFor := func(seconds string) handler { return gives(429, asJSON, "{}", "Retry-After", seconds) }
	rejects := gives(401, asJSON, `{"error":{"message":"no such key","type":"authentication_error"}}`)
	opens := []Option{WithBreaker(BreakerPolicy{Consecutive: 1, OpenFor: 10 * time.Second, MaxWait: Off}), WithRetry(RetryPolicy{Attempts: 1})}
	for _, tt := range []struct {
		name    string
		a, b    handler
		models  []string // that are called first
		moments []moment
	}{
		{"nothing was called", nil, nil, nil, []moment{{0, "", 0}}},
		{"all is well", gives(200, asJSON, goodJSON), gives(200, asJSON, goodJSON), []string{"m"}, []moment{{0, "", 0}}},
		{"one of two is down", failing503, gives(200, asJSON, goodJSON), []string{"m"}, []moment{{0, "", 0}}},
		{"both are down", failing503, failing503, []string{"m"}, []moment{{0, ClassCircuitOpen, 10 * time.Second}, {9 * time.Second, ClassCircuitOpen, time.Second}, {time.Second, "", 0}}},
		{"both are down for one of two models", forModel("m", failing503), forModel("m", failing503), []string{"m", "n"}, []moment{{0, "", 0}}},
		{"both ask for a pause", asksFor("20"), asksFor("5"), []string{"m"}, []moment{{0, ClassPaused, 5 * time.Second}, {5 * time.Second, "", 0}}},
		{"one is down, one asks for a pause", failing503, asksFor("5"), []string{"m"}, []moment{{0, ClassPaused, 5 * time.Second}, {5 * time.Second, "", 0}}},
		{"one key is rejected, the other host down", rejects, failing503, []string{"m"}, []moment{{0, ClassCircuitOpen, 10 * time.Second}}},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			base := newHosts(gives(200, asJSON, goodJSON))
			if tt.a != nil {
				base.Set("a", tt.a)
				base.Set("b", tt.b)
			}
			rt := over(t, base, append(opens, WithEndpoints(at("a")...), WithBackup(at("b")...))...)
			for _, model := range tt.models {
				asks(t.Context(), rt, `{"model":"`+model+`","messages":[]}`)
			}
			for _, m := range tt.moments {
				elapse(m.after)
				err := rt.Ready()
				var failure *Error
				switch errors.As(err, &failure); {
				case m.want == "" && err != nil:
					t.Fatalf("got %v, want ready", err)
				case m.want != "" && (failure == nil || failure.Class != m.want || failure.RetryAfter != m.retry || len(failure.Attempts) != 2):
					t.Fatalf("got %v (%+v), want %s until %v, of two endpoints", err, failure, m.want, m.retry)
				}
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		rt := over(t, newHosts(failing503), opens...)
		asks(t.Context(), rt, chatJSON)
		if err := rt.Ready(); err != nil {
			t.Errorf("without endpoints: %v", err)
		}
	})
}

// forModel answers calls for one model as do does, and others well.
func forModel(model string, do handler) handler {
	return func(req *http.Request) (*http.Response, error) {
		if modelOf(req) == model {
			return do(req)
		}
		return answer(200, asJSON, goodJSON), nil
	}
}
