package chaos_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater"
	bt "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/chaos"
)

// alike are faults of this package and of the kit that a client cannot tell apart.
var alike = []struct {
	rule chaos.Rule
	kit  bt.Fault
}{
	{chaos.Rule{Fault: chaos.Latency, Delay: time.Minute}, bt.SlowHeaders(time.Minute)},
	{chaos.Rule{Fault: chaos.QueueForever}, bt.QueueForever()},
	{chaos.Rule{Fault: chaos.BlankThenClose}, bt.BlankThenClose()},
	{chaos.Rule{Fault: chaos.Silence}, bt.Silence()},
	{chaos.Rule{Fault: chaos.ErrorInside}, bt.ErrorInside()},
	{chaos.Rule{Fault: chaos.HTMLInside}, bt.HTMLInside()},
	{chaos.Rule{Fault: chaos.EmptyInside}, bt.EmptyInside()},
	{chaos.Rule{Fault: chaos.CutJSON}, bt.CutJSON()},
	{chaos.Rule{Fault: chaos.MalformedJSON}, bt.MalformedJSON()},
	{chaos.Rule{Fault: chaos.CutStream}, bt.CutStream(0)},
	{chaos.Rule{Fault: chaos.CutStream, After: 3}, bt.CutStream(3)},
	{chaos.Rule{Fault: chaos.CutStream, After: 99}, bt.CutStream(99)},
	{chaos.Rule{Fault: chaos.EndStream, After: 3}, bt.EndStream(3)},
	{chaos.Rule{Fault: chaos.EndStream, After: 99}, bt.EndStream(99)},
	{chaos.Rule{Fault: chaos.StallStream, After: 3}, bt.StallStream(3)},
	{chaos.Rule{Fault: chaos.StallKeepAlive, After: 3}, bt.StallKeepAlive(3)},
	{chaos.Rule{Fault: chaos.ErrorFrame, After: 3}, bt.ErrorFrame(3)},
	{chaos.Rule{Fault: chaos.MalformedEvent, After: 3}, bt.MalformedEvent(3)},
	{chaos.Rule{Fault: chaos.Reset}, bt.Reset()},
	{chaos.Rule{Fault: chaos.Refused}, bt.Refused()},
	{chaos.Rule{Fault: chaos.NoSuchHost}, bt.NoSuchHost()},
	{chaos.Rule{Fault: chaos.BlackHole}, bt.BlackHole()},
	{chaos.Rule{Fault: chaos.Busy}, bt.Busy()},
	{chaos.Rule{Fault: chaos.Unauthorized}, bt.Unauthorized()},
	{chaos.Rule{Fault: chaos.TooManyRequests, RetryAfter: 7 * time.Second}, bt.TooManyRequests("7")},
}

// eachForm calls do for each wire, JSON and stream.
func eachForm(do func(w bt.Wire, stream bool)) {
	for _, w := range bt.Wires() {
		do(w, false)
		do(w, true)
	}
}

// A bare client sees what it sees of the kit's equal fault, and at the same time.
func TestFaults_AsTheKit(t *testing.T) {
	for _, pair := range alike {
		eachForm(func(w bt.Wire, stream bool) {
			name := fmt.Sprintf("%s(%d) on %v, stream %v", pair.rule.Fault, pair.rule.After, w, stream)
			inBubble(t, host(), chaos.Config{}, func(r *rig) {
				server := r.fleet.Servers()[0]
				server.Break(pair.kit)
				want := r.call(w, stream)
				server.Heal()
				if err := r.Set(pair.rule); err != nil {
					t.Fatal(err)
				}
				got := r.call(w, stream)
				sameEnd := (got.err == nil) == (want.err == nil) &&
					errors.Is(got.err, context.DeadlineExceeded) == errors.Is(want.err, context.DeadlineExceeded)
				if !sameEnd || got.status != want.status || got.reply.Content != want.reply.Content || got.reply.FinishReason != want.reply.FinishReason || got.reply.Done != want.reply.Done {
					t.Errorf("%s:\n got %d %v %+v\nwant %d %v %+v", name, got.status, got.err, got.reply, want.status, want.err, want.reply)
				}
				if pair.rule.Fault == chaos.ErrorInside {
					want.took = 0 // the kit's host takes as long as for an answer
				}
				if got.headers != want.headers || got.took != want.took {
					t.Errorf("%s: headers after %v, end after %v, want %v and %v", name, got.headers, got.took, want.headers, want.took)
				}
				if s := r.Stats().Rules[0]; s.Hits != 1 || s.Unfit != 0 {
					t.Errorf("%s: the counts are %+v, want one hit", name, s)
				}
			})
		})
	}
}

// behindBreakwater makes a call by breakwater, whose primary is sick and whose backup is well.
func behindBreakwater(t *testing.T, w bt.Wire, stream bool, sicken func(*bt.Server, *chaos.Injector) error) (out result, outcome breakwater.Outcome) {
	synctest.Test(t, func(t *testing.T) {
		backup := bt.DeepSeek("backup")
		fleet, err := bt.NewPipeFleet(host(), backup)
		if err != nil {
			t.Fatal(err)
		}
		defer fleet.Close()
		base := fleet.Transport()
		defer base.CloseIdleConnections()
		i, err := chaos.New(chaos.Config{Endpoints: endpointsOf(bt.DeepSeek("deepseek"))})
		if err != nil {
			t.Fatal(err)
		}
		primary := fleet.Server("host")
		transport, err := breakwater.New(
			breakwater.WithBase(i.Middleware(base)),
			breakwater.WithEndpoints(breakwater.Endpoint{Name: "primary", URL: primary.URL(), APIKey: "sk-1", Host: breakwater.HostDeepSeek}),
			breakwater.WithBackup(breakwater.Endpoint{Name: "backup", URL: fleet.Server("backup").URL(), APIKey: "sk-2", Host: breakwater.HostDeepSeek}),
		)
		if err != nil {
			t.Fatal(err)
		}
		defer transport.Close()
		if err := sicken(primary, i); err != nil {
			t.Fatal(err)
		}
		r := &rig{t, fleet, i, &http.Client{Transport: transport}}
		out = r.call(w, stream)
		outcome = breakwater.Outcome(out.header.Get("Breakwater-Outcome"))
	})
	return out, outcome
}

// Behind breakwater, a fault ends as the kit's equal fault does: in the backup's answer, or in
// the same error.
func TestFaults_BehindBreakwater(t *testing.T) {
	for _, pair := range alike {
		eachForm(func(w bt.Wire, stream bool) {
			want, wantOutcome := behindBreakwater(t, w, stream, func(s *bt.Server, _ *chaos.Injector) error {
				s.Break(pair.kit)
				return nil
			})
			got, gotOutcome := behindBreakwater(t, w, stream, func(_ *bt.Server, i *chaos.Injector) error {
				r := pair.rule
				r.Match.Hosts = []string{"host.localhost"}
				return i.Set(r)
			})
			if (got.err == nil) != (want.err == nil) || got.reply.Content != want.reply.Content || got.reply.Fingerprint != want.reply.Fingerprint || gotOutcome != wantOutcome {
				t.Errorf("%s(%d) on %v, stream %v:\n got %s %v %+v\nwant %s %v %+v", pair.rule.Fault, pair.rule.After, w, stream, gotOutcome, got.err, got.reply, wantOutcome, want.err, want.reply)
			}
		})
	}
}
