package breakwater

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
)

// A caller has its request back when the exchange is over, and may make another
// of it. What goes on behind its back goes on with what was asked.

// Who rides on with a flight whose leader has left rides to where it set out for,
// and gets nothing that was said to the leader alone.
func TestSharing_IsOfTheRequestAsItWas(t *testing.T) {
	for _, status := range []int{503, 401} {
		synctest.Test(t, func(t *testing.T) {
			fail := make(chan struct{})
			var asked []string
			rt := over(t, RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				asked = append(asked, req.URL.Path+" "+req.Header.Get("X-Try")+" "+req.Header.Get("Authorization"))
				if len(asked) == 1 {
					<-fail
					return answer(status, asJSON, "{}"), nil
				}
				return answer(200, asJSON, goodJSON), nil
			}), WithCache(CachePolicy{Scope: func(*http.Request) string { return "all" }}), WithRetry(RetryPolicy{MinDelay: Off}))
			ctx, cancel := context.WithCancel(t.Context())
			leader, _ := post(ctx, "https://a", chatJSON)
			leader.Header.Set("Authorization", "A")
			left := make(chan error)
			go func() {
				_, err := rt.RoundTrip(leader)
				left <- err
			}()
			synctest.Wait()
			other := calls(t, rt, chatJSON, with("Authorization", "B"))
			cancel()
			<-left
			leader.Header.Set("Authorization", "B")
			leader.Header.Set("X-Try", "2")
			leader.URL.Path = "/v1/models"
			close(fail)
			synctest.Wait()
			want := "/chat/completions  A" // the flight's own second try
			if status == 401 {
				want = "/chat/completions  B" // what was said to A is not B's, who asks
			}
			if len(asked) != 2 || asked[1] != want || other.read.String() != goodJSON {
				t.Errorf("behind a %d, asked %q, and the other got %q, %v; want %q then, and an answer", status, asked, other.read.String(), other.err, want)
			}
		})
	}
}
