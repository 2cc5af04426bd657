package breakwater

import (
	"strings"
	"testing"
	"testing/synctest"
)

// An Update with mistakes returns all of them, and changes nothing.
func TestUpdate_Mistakes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := newHosts(gives(200, asJSON, goodJSON))
		rt := over(t, base, WithEndpoints(at("a")...))
		before := rt.now()
		err := rt.Update(WithEndpoints(Endpoint{URL: "::"}), WithRetry(RetryPolicy{Attempts: -3}), nil)
		if err == nil || rt.now() != before {
			t.Fatalf("the error is %v, and the generation has changed: %v", err, rt.now() != before)
		}
		for _, want := range []string{"URL", "Attempts", "nil Option"} {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want it to tell of %s", err, want)
			}
		}
		if got := asks(t.Context(), rt, chatJSON); got.status() != 200 {
			t.Errorf("after it: %v", got)
		}
	})
}
