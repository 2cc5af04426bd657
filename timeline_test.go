package breakwater

import (
	"context"
	"strings"
	"testing"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// Golden timelines: what happens, when, and what the caller sees, in virtual
// time, one for each row of the verdict table that shows something of its own.
func TestTimeline(t *testing.T) {
	ask := func(stream bool) func(*world) {
		return func(w *world) { w.call("q", stream) }
	}
	breakPrimary := func(f kit.Fault, then func(*world)) func(*world) {
		return func(w *world) { w.fleet.Server("primary").Break(f); then(w) }
	}
	breakAll := func(f kit.Fault, then func(*world)) func(*world) {
		return func(w *world) {
			for _, s := range w.fleet.Servers() {
				s.Break(f)
			}
			then(w)
		}
	}
	onWire := func(wire kit.Wire, then func(*world)) func(*world) {
		return func(w *world) { w.wire = wire; then(w) }
	}
	fast := WithStream(StreamPolicy{FirstToken: 10 * time.Second, Queued: 20 * time.Second, Stall: 10 * time.Second})
	thought := kit.Status(200, asJSON, `{"choices":[{"index":0,"message":{"content":"","reasoning_content":"Hm."},"finish_reason":"stop"}]}`)
	answered := []Option{WithStream(StreamPolicy{RequireAnswer: true})}
	kept := []Option{WithStream(StreamPolicy{RequireAnswer: true, KeepFlawed: true})}
	for _, tt := range []struct {
		name  string
		names string
		opts  []Option
		run   func(*world)
	}{
		{"all well json", "primary second backup", nil, ask(false)},
		{"all well stream", "primary second backup", nil, ask(true)},
		{"refused goes to backup", "primary backup", nil, breakPrimary(kit.Refused(), ask(false))},
		{"refused alone is tried again", "primary", nil, breakPrimary(kit.Refused(), ask(false))},
		{"reset goes to backup", "primary backup", nil, breakPrimary(kit.Reset(), ask(true))},
		{"reasoning alone goes to backup", "primary backup", answered, breakPrimary(thought, ask(false))},
		{"reasoning alone is tried again", "primary", answered, breakPrimary(thought, ask(false))},
		{"reasoning alone is kept", "primary", kept, breakPrimary(thought, ask(false))},
		{"500 once then again on the same", "primary backup", nil, func(w *world) {
			w.fleet.Server("primary").BreakNext(1, kit.ServerError())
			w.call("q", false)
		}},
		{"503 for ever goes to backup", "primary backup", nil, breakPrimary(kit.Busy(), ask(false))},
		{"503 alone uses all attempts", "primary", nil, breakPrimary(kit.Busy(), ask(true))},
		{"429 with Retry-After within patience is waited for", "primary backup", nil, func(w *world) {
			w.fleet.Server("primary").BreakNext(1, kit.TooManyRequests("2"))
			w.call("q", false)
		}},
		{"429 with long Retry-After goes to backup and stays there", "primary backup", nil, func(w *world) {
			w.fleet.Server("primary").BreakNext(1, kit.TooManyRequests("30"))
			w.call("q1", false)
			w.call("q2", false)
			elapse(30 * time.Second)
			w.call("q3", false)
		}},
		{"429 without Retry-After for ever goes to backup", "primary backup", nil, breakPrimary(kit.TooManyRequests(""), ask(false))},
		{"429 alone is waited for up to MaxRetryAfter", "primary", nil, func(w *world) {
			w.fleet.Server("primary").BreakNext(1, kit.TooManyRequests("45"))
			w.call("q", false)
		}},
		{"429 alone beyond MaxRetryAfter is answered at once", "primary", nil, func(w *world) {
			w.fleet.Server("primary").Break(kit.TooManyRequests("90"))
			w.call("q1", false)
			w.call("q2", true)
		}},
		{"401 of our key rests the endpoint", "primary backup", nil, func(w *world) {
			w.fleet.Server("primary").Break(kit.Unauthorized())
			w.call("q1", false)
			w.call("q2", false)
		}},
		{"a rejected key is replaced by Update", "primary backup", nil, func(w *world) {
			w.update("primary backup", func(e *Endpoint) { e.APIKey = strings.Replace(e.APIKey, "primary", "old", 1) })
			w.call("q1", false)
			w.call("q2", false)
			w.update("primary backup", func(*Endpoint) {})
			w.call("q3", false)
			w.update("backup", func(*Endpoint) {})
			w.call("q4", true)
		}},
		{"401 of an old key is asked again with a new one", "primary backup", []Option{keysFrom("sk-primary", "sk-new")}, func(w *world) {
			w.call("before", false)
			w.fleet.Server("primary").SetKeys("sk-new")
			w.call("at the rotation", false)
			w.call("after", true)
		}},
		{"401 of an old key and of the new one rests the endpoint", "primary backup", []Option{keysFrom("sk-old", "sk-wrong")}, func(w *world) {
			w.call("q1", false)
			w.call("q2", false)
		}},
		{"no key goes to the backup and rests", "primary backup", []Option{keysFrom()}, func(w *world) {
			w.call("q1", false)
			w.call("q2", false)
			elapse(5 * time.Second)
			w.call("q3", false)
			elapse(4 * time.Second)
			w.call("q4", false)
		}},
		{"no key alone", "primary", []Option{keysFrom()}, ask(true)},
		{"a probe finds a revoked key, and that it is mended", "primary backup", []Option{WithProbes(ProbePolicy{})}, func(w *world) {
			elapse(2 * time.Minute)
			backup := w.fleet.Server("backup")
			backup.Break(kit.Unauthorized())
			elapse(10 * time.Minute)
			w.fleet.Server("primary").Break(kit.Busy())
			w.call("q1", false)
			backup.Heal()
			elapse(5 * time.Minute)
			w.call("q2", false)
		}},
		{"a tenant at its limit is refused, and others are not", "primary", []Option{WithTenants(TenantPolicy{Default: TenantLimits{RequestsPerMinute: 1}})}, func(w *world) {
			ask := func(tenant, prompt string) {
				w.note("for %s", tenant)
				w.callWith(WithCall(context.Background(), Call{Tenant: tenant}), prompt, false, nil)
			}
			ask("aurora", "q1")
			ask("aurora", "q2")
			ask("borealis", "q3")
			elapse(61 * time.Second) // as Retry-After says
			ask("aurora", "q4")
		}},
		{"401 alone comes as it came", "primary", nil, breakPrimary(kit.Unauthorized(), ask(false))},
		{"402 of our key rests the account", "primary backup", nil, func(w *world) {
			w.fleet.Server("primary").Break(kit.InsufficientBalance())
			w.call("q1", false)
			w.call("q2", false)
		}},
		{"400 comes as it came", "primary backup", nil,
			breakPrimary(kit.Status(400, "application/json", `{"error":{"message":"bad","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}`), ask(false))},
		{"context length goes elsewhere", "primary backup", nil,
			breakPrimary(kit.Status(400, "application/json", `{"error":{"message":"This model's maximum context length is 1 tokens","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}`), ask(false))},
		{"redirect goes elsewhere", "primary backup", nil,
			breakPrimary(kit.Status(307, "text/plain", "", "Location", "http://stranger.localhost/chat/completions"), ask(false))},
		{"error inside a 200", "primary backup", nil, breakPrimary(kit.ErrorInside(), ask(false))},
		{"error inside a 200 stream", "primary backup", nil, breakPrimary(kit.ErrorInside(), ask(true))},
		{"cut json", "primary backup", nil, breakPrimary(kit.CutJSON(), ask(false))},
		{"cut json alone", "primary", nil, breakPrimary(kit.CutJSON(), ask(false))},
		{"out of resources json", "primary backup", nil, breakPrimary(kit.OutOfResources(), ask(false))},
		{"queue for ever stream", "primary backup", []Option{fast}, breakPrimary(kit.QueueForever(), ask(true))},
		{"queue for ever json", "primary backup", []Option{fast}, breakPrimary(kit.QueueForever(), ask(false))},
		{"black hole stream", "primary backup", []Option{fast}, breakPrimary(kit.BlackHole(), ask(true))},
		{"black hole json", "primary backup", []Option{fast}, breakPrimary(kit.BlackHole(), ask(false))},
		{"silence stream", "primary backup", []Option{fast}, breakPrimary(kit.Silence(), ask(true))},
		{"queue alone is waited for", "primary", []Option{fast}, func(w *world) {
			w.fleet.Server("primary").SetPace(kit.Pace{Queue: 2 * time.Minute})
			w.call("q", true)
			w.call("q", false)
		}},
		{"half of the deadline leaves time for the backup", "primary backup", nil, func(w *world) {
			w.fleet.Server("primary").Break(kit.BlackHole())
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			w.callWith(ctx, "q", true, nil)
		}},
		{"deadline without payload", "primary", nil, func(w *world) {
			w.fleet.Server("primary").Break(kit.BlackHole())
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			w.callWith(ctx, "q", true, nil)
		}},
		{"cancel while waiting", "primary", nil, func(w *world) {
			w.fleet.Server("primary").Break(kit.TooManyRequests("30"))
			ctx, cancel := context.WithCancel(context.Background())
			time.AfterFunc(5*time.Second, cancel)
			w.callWith(ctx, "q", false, nil)
		}},
		{"stream cut behind commit", "primary backup", nil, breakPrimary(kit.CutStream(4), ask(true))},
		{"stream cut and continued", "primary second backup", nil, func(w *world) {
			for _, s := range w.fleet.Servers() {
				s.BreakNext(1, kit.CutStream(4))
				s.SetPace(kit.Pace{PerToken: time.Second})
			}
			w.call("q", true)
		}},
		{"stream cut and restarted", "primary backup", []Option{WithStream(StreamPolicy{Rescue: RescueRestart})}, func(w *world) {
			w.fleet.Server("primary").Break(kit.PrefixRejected())
			w.fleet.Server("primary").BreakNext(1, kit.CutStream(4))
			w.call("q", true)
		}},
		{"stream cut, prefix ignored, restarted all the same", "primary backup", []Option{WithStream(StreamPolicy{Rescue: RescueRestart})}, func(w *world) {
			w.fleet.Server("primary").Break(kit.PrefixIgnored())
			w.fleet.Server("primary").BreakNext(1, kit.CutStream(9))
			w.call("q", true)
		}},
		{"stream cut, prefix ignored, no restart allowed", "primary backup", nil, func(w *world) {
			w.fleet.Server("primary").Break(kit.PrefixIgnored())
			w.fleet.Server("primary").BreakNext(1, kit.CutStream(9))
			w.call("q", true)
		}},
		{"stream cut with rescue off", "primary backup", []Option{WithStream(StreamPolicy{Rescue: RescueOff})}, breakPrimary(kit.CutStream(4), ask(true))},
		{"error frame, then continued", "primary backup", nil, func(w *world) {
			w.fleet.Server("primary").BreakNext(1, kit.ErrorFrame(4))
			w.call("q", true)
		}},
		{"stream ended behind commit", "primary backup", nil, breakPrimary(kit.EndStream(4), ask(true))},
		{"stream stalled behind commit", "primary backup", []Option{fast}, breakPrimary(kit.StallStream(4), ask(true))},
		{"stream stalled behind keep-alives", "primary backup", []Option{fast}, breakPrimary(kit.StallKeepAlive(4), ask(true))},
		{"stream alone stalled behind keep-alives", "primary", []Option{fast}, breakPrimary(kit.StallKeepAlive(4), ask(true))},
		{"error frame behind commit", "primary backup", nil, breakPrimary(kit.ErrorFrame(4), ask(true))},
		{"no DONE is fine", "primary", nil, breakPrimary(kit.NoDone(), ask(true))},
		{"all refused", "primary second backup", nil, breakAll(kit.Refused(), ask(false))},
		{"circuit opens, is probed, closes", "primary backup", nil, func(w *world) {
			w.fleet.Server("primary").Break(kit.Refused())
			for range 6 {
				w.call("q", false)
			}
			elapse(6 * time.Second)
			w.call("probe fails", false)
			w.fleet.Server("primary").Heal()
			elapse(6 * time.Second)
			w.call("open for longer", false)
			elapse(6 * time.Second)
			w.call("probe succeeds", false)
		}},
		{"alone behind an open circuit callers probe", "primary", []Option{WithRetry(RetryPolicy{Attempts: 1})}, func(w *world) {
			w.fleet.Server("primary").Break(kit.Busy())
			for range 6 {
				w.call("q", false)
				elapse(time.Millisecond)
			}
			w.fleet.Server("primary").Heal()
			w.call("back", false)
		}},
		{"cache hit, stale when all are down", "primary backup", []Option{WithCache(CachePolicy{TTL: time.Minute})}, func(w *world) {
			w.call("q", true)
			w.call("q", true)
			elapse(2 * time.Minute)
			for _, s := range w.fleet.Servers() {
				s.Break(kit.Refused())
			}
			w.call("q", true)
			w.call("other", true)
		}},
		{"idempotency key, a caller that runs out of time asks again", "primary", []Option{idempotent}, func(w *world) {
			w.fleet.Server("primary").SetPace(kit.Pace{FirstToken: 12 * time.Second})
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			w.callWith(ctx, "q", false, underKey("order-7"))
			cancel()
			elapse(time.Second)
			w.callWith(context.Background(), "q", false, underKey("order-7"))
			elapse(time.Hour)
			w.callWith(context.Background(), "q", false, underKey("order-7"))
			w.callWith(context.Background(), "another", false, underKey("order-7"))
			w.callWith(context.Background(), "q", false, underKey(""))
		}},
		{"idempotency key, a failure is not kept", "primary", []Option{idempotent, WithRetry(RetryPolicy{Attempts: 1})}, func(w *world) {
			w.fleet.Server("primary").BreakNext(1, kit.ServerError())
			w.callWith(context.Background(), "q", true, underKey("order-7"))
			w.callWith(context.Background(), "q", true, underKey("order-7"))
			w.callWith(context.Background(), "q", true, underKey("order-7"))
		}},
		{"idempotency key, nobody asks again", "primary", []Option{WithIdempotency(IdempotencyPolicy{Linger: 30 * time.Second})}, func(w *world) {
			w.fleet.Server("primary").Break(kit.BlackHole())
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			w.callWith(ctx, "q", true, underKey("order-7"))
			elapse(time.Minute)
		}},
		{"completions go to the backup", "primary backup", nil, onWire(kit.Completions, breakPrimary(kit.Refused(), ask(true)))},
		{"completions cut behind commit", "primary backup", nil, onWire(kit.Completions, breakPrimary(kit.CutStream(4), ask(true)))},
		{"responses go to the backup", "primary backup", nil, onWire(kit.Responses, breakPrimary(kit.ErrorInside(), ask(true)))},
		{"responses ended behind commit", "primary backup", nil, onWire(kit.Responses, breakPrimary(kit.EndStream(4), ask(true)))},
		{"responses failed behind commit", "primary backup", nil, onWire(kit.Responses, breakPrimary(kit.ErrorFrame(4), ask(true)))},
		{"responses out of resources", "primary backup", nil, onWire(kit.Responses, breakPrimary(kit.OutOfResources(), ask(false)))},
		{"messages go to the backup", "primary backup", nil, onWire(kit.Messages, breakPrimary(kit.Busy(), ask(false)))},
		{"messages queue for ever", "primary backup", []Option{fast}, onWire(kit.Messages, breakPrimary(kit.QueueForever(), ask(true)))},
		{"messages ended behind commit", "primary backup", nil, onWire(kit.Messages, breakPrimary(kit.EndStream(4), ask(true)))},
		{"messages stalled behind pings", "primary backup", []Option{fast}, onWire(kit.Messages, breakPrimary(kit.StallKeepAlive(4), ask(true)))},
		{"messages with an error behind commit", "primary backup", nil, onWire(kit.Messages, breakPrimary(kit.ErrorFrame(4), ask(true)))},
		{"messages refused by all", "primary", []Option{WithRetry(RetryPolicy{Attempts: 1})}, onWire(kit.Messages, breakPrimary(kit.Refused(), ask(false)))},
		{"model not found goes elsewhere and rests", "primary backup", nil, func(w *world) {
			w.fleet.Server("primary").Break(kit.Status(400, "application/json", `{"error":{"message":"Model Not Exist","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}`))
			w.call("q1", false)
			w.call("q2", false)
			elapse(time.Minute)
			w.call("q3", false)
		}},
		{"the cheapest of a tier, by the hour", "primary second", []Option{priced(), WithBalance(BalancePolicy{Cheapest: true}), func(c *config) error {
			c.tiers[0][0].Price = map[string]Price{"": {Input: 6e5, Output: 6e7, Peak: "01:00-04:00", PeakFactor: 2}}
			return nil
		}}, func(w *world) {
			w.call("q1", false)
			w.call("q2", false)
			w.fleet.Server("primary").BreakNext(1, kit.Busy())
			w.call("q3", false)
			elapse(time.Hour)
			w.call("q4", false)
			w.call("q5", true)
		}},
		{"the money of the day is spent", "primary", []Option{priced(), WithCache(CachePolicy{TTL: time.Minute}), WithSpend(SpendPolicy{PerDay: 2000, Cheaper: map[string]string{testModel: "deepseek-v4-flash"}, CheaperFrom: 1000})}, func(w *world) {
			w.call("q1", false)
			w.call("q2", false)
			w.call("q3", true)
			w.call("q2", false)
			elapse(24 * time.Hour)
			w.call("q4", true)
		}},
		{"what attempts cost", "primary backup", []Option{priced(), WithCache(CachePolicy{}), WithStream(StreamPolicy{Rescue: RescueRestart}), once}, func(w *world) {
			w.call("q1", false)
			w.call("q1", false)
			w.fleet.Server("primary").BreakNext(1, kit.Busy())
			w.call("q2", false)
			elapse(time.Minute)
			w.fleet.Server("primary").BreakNext(1, kit.CutJSON())
			w.call("q3", false)
			elapse(time.Minute)
			w.fleet.Server("primary").BreakNext(1, kit.CutStream(4))
			w.call("q4", true)
		}},
		{"a share of the calls goes to the backup, and comes back", "primary backup", []Option{fast, noBreaker, WithBalance(BalancePolicy{Shift: 0.9}), drawing(0.6)}, func(w *world) {
			w.fleet.Server("primary").BreakNext(4, kit.QueueForever())
			for n := range 6 {
				if n == 5 {
					w.fleet.Server("primary").BreakNext(1, kit.QueueForever())
				}
				w.call("q", true)
			}
			w.call("shifted", true)
			elapse(2 * time.Minute)
			w.call("back", true)
		}},
		{"a call stays on the premises", "primary second backup", nil, func(w *world) {
			own := only(context.Background(), "own")
			w.fleet.Server("primary").Break(kit.Busy())
			w.fleet.Server("second").Break(kit.Refused())
			w.call("free", true)
			w.callWith(own, "confidential", true, nil)
			w.fleet.Server("second").Heal()
			w.callWith(own, "confidential again", true, nil)
			w.callWith(only(own, "backup"), "for nobody", false, nil)
			w.callWith(only(own, "premises"), "misspelt", false, nil)
		}},
		{"content filter comes as it came", "primary backup", nil,
			breakPrimary(kit.Status(400, "application/json", `{"error":{"message":"Content Exists Risk","type":"invalid_request_error","param":null,"code":"invalid_request_error"}}`), ask(true))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			inWorld(t, tt.names, tt.opts, func(w *world) {
				tt.run(w)
				w.golden()
			})
		})
	}
}
