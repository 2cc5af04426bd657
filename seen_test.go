package breakwater

import (
	"context"
	"log/slog"
	"net/http"
	"strings"
	"testing"
)

// watch returns an Option and the events that it collects, from one call at a time.
func watch() (*[]Event, Option) {
	var told []Event
	return &told, WithObserver(func(_ context.Context, e Event) { told = append(told, e) })
}

// The host's id of each request is in the trail and in the events, whatever came of the
// request.
func TestSeen_RequestID(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		reply      handler
	}{
		{"JSON", chatJSON, gives(200, asJSON, goodJSON, "X-Ds-Trace-Id", "id\x01-b")},
		{"stream", chatStream, gives(200, asStream, wholeStream, "X-Ds-Trace-Id", "id-b")},
		{"packed", chatJSON, gives(200, asJSON, "?", "Content-Encoding", "br", "X-Ds-Trace-Id", "id-b")},
		{"a stream that breaks", chatStream, gives(200, asStream, goodEvent, "X-Ds-Trace-Id", "id-b")},
		{"a refusal", chatJSON, gives(400, asJSON, `{}`, "X-Ds-Trace-Id", "id-b")},
		{"an error inside", chatJSON, gives(200, asJSON, `{"error":{"code":400}}`, "X-Ds-Trace-Id", "id-b")},
	} {
		bubble(t, tt.name, func(t *testing.T) {
			told, observer := watch()
			base := newHosts(tt.reply)
			base.Set("a", gives(503, asJSON, "{}", "X-Generation-Id", "id-a"))
			got := asks(t.Context(), over(t, base, once, WithEndpoints(at("a")...), WithBackup(at("b")...), observer), tt.body)
			trail := TrailOf(got.resp)
			if len(trail) != 2 || trail[0].RequestID != "id-a" || trail[1].RequestID != "id-b" {
				t.Fatalf("the trail is %+v, want id-a and id-b", trail)
			}
			for _, e := range *told {
				if want := map[string]string{"a": "id-a", "b": "id-b"}[e.Endpoint]; (e.Kind == KindAttempt || e.Kind == KindCommit) && e.RequestID != want {
					t.Errorf("event %+v, want the id %s", e, want)
				}
			}
		})
	}
}

// An id that repeats a key is none: neither the endpoint's key nor the caller's is told.
func TestSeen_RequestIDQuotesNoKey(t *testing.T) {
	const key = "sk-0123456789"
	echo := func(req *http.Request) (*http.Response, error) {
		return gives(200, asJSON, goodJSON, "X-Request-Id", "for-"+req.Header.Get("Authorization"))(req)
	}
	for name, opts := range map[string][]Option{
		"the caller's":          nil,
		"the endpoint's":        {WithEndpoints(Endpoint{URL: "https://a", APIKey: key})},
		"the endpoint's header": {WithEndpoints(Endpoint{URL: "https://a", Header: http.Header{"Authorization": {"Bearer " + key}}})},
	} {
		t.Run(name, func(t *testing.T) {
			var log strings.Builder
			l := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
			got := asks(t.Context(), over(t, newHosts(echo), append(opts, WithObserver(Log(l)))...), chatJSON, with("Authorization", "Bearer "+key))
			if trail := TrailOf(got.resp); len(trail) != 1 || trail[0].RequestID != "" || strings.Contains(log.String(), key) {
				t.Errorf("the trail is %+v, the log %s", trail, log.String())
			}
		})
	}
}
