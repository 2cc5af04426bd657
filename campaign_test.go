package breakwater

import (
	"context"
	"fmt"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// A campaign is three hosts of one tier and a Transport over them.
type campaign struct {
	t      *testing.T
	fleet  *kit.Fleet
	rt     *Transport
	client *http.Client
}

var campaignHosts = []string{"one", "two", "three"}

func inCampaign(t *testing.T, opts []Option, f func(*campaign)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		var hosts []kit.Host
		for _, name := range campaignHosts {
			hosts = append(hosts, kit.DeepSeek(name))
		}
		fleet, err := kit.NewPipeFleet(hosts...)
		if err != nil {
			t.Fatal(err)
		}
		base := fleet.Transport()
		for _, s := range fleet.Servers() {
			opts = append(opts, WithEndpoints(Endpoint{Name: s.Name(), URL: s.URL(), APIKey: "sk-" + s.Name(), Host: HostDeepSeek}))
		}
		rt := over(t, base, opts...)
		f(&campaign{t, fleet, rt, &http.Client{Transport: rt}})
		rt.Close()
		base.CloseIdleConnections()
		fleet.Close()
	})
}

// asks makes one call and reports what is wrong with its answer.
func (c *campaign) asks(n int, stream bool) (attempts []Attempt, err error) {
	var trail Trail
	prompt := fmt.Sprintf("question %d", n)
	ctx := WithCall(context.Background(), Call{Trail: &trail})
	req, err := kit.ChatRequest(ctx, c.fleet.Servers()[n%3].URL(), "sk-caller", testModel, prompt, stream)
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return trail.Attempts(), err
	}
	reply, err := kit.ReadAnswer(resp)
	if err == nil && (reply.Content != kit.Answer(prompt) || reply.FinishReason != "stop" || !reply.Done) {
		err = fmt.Errorf("a wrong answer: %+v", reply)
	}
	return trail.Attempts(), err
}

// trips is how many of the attempts were sent.
func trips(attempts []Attempt) (n int) {
	for _, a := range attempts {
		if a.N > 0 {
			n++
		}
	}
	return n
}

// circuit is how the circuit of a host stands.
func (c *campaign) circuit(name string) string {
	for _, e := range c.rt.Status().Endpoints {
		if e.Name == name && len(e.Circuits) == 1 {
			return e.Circuits[0].State
		}
	}
	return ""
}

// Of three hosts that share the load one is sick, in each way that shows
// before the commit: every call is answered rightly, and once the circuit has
// opened, or the key rests, hardly any call still goes there.
func TestCampaign(t *testing.T) {
	for _, fault := range kit.Faults() {
		for _, stream := range []bool{false, true} {
			if fault.BehindCommit() && stream || fault.Harmless() {
				continue
			}
			t.Run(fmt.Sprintf("%s/stream=%v", fault, stream), func(t *testing.T) {
				inCampaign(t, []Option{WithStream(quick)}, func(c *campaign) {
					sick := c.fleet.Server("two")
					sick.Break(fault)
					n, all := 0, 0
					ask := func() {
						attempts, err := c.asks(n, stream)
						if err != nil {
							c.t.Fatalf("call %d: %v; attempts %+v", n+1, err, attempts)
						}
						if trips(attempts) > 2 {
							c.t.Errorf("call %d took %d attempts, want at most 2: one host is sick", n+1, trips(attempts))
						}
						n++
						all += trips(attempts)
					}
					for range 30 {
						ask()
					}
					open := c.circuit("two") == "open"
					resting := false
					for _, e := range c.rt.Status().Endpoints {
						resting = resting || e.Name == "two" && len(e.Pauses) > 0 && time.Until(e.Pauses[0].Until) > time.Minute
					}
					switch fault.Name() {
					case "TooManyRequests":
						if open {
							c.t.Error("429s opened the circuit")
						}
					case "Unauthorized", "InsufficientBalance":
						if !resting {
							c.t.Error("a host that rejects the key does not rest")
						}
					case "CutStream", "EndStream", "StallStream", "StallKeepAlive", "ErrorFrame":
						// A JSON answer is right under some of these.
						resting = resting || !open && all == n
						fallthrough
					default:
						if !open && !resting {
							c.t.Errorf("after %d calls the circuit is %s, want open", n, c.circuit("two"))
						}
					}
					if open || resting {
						all = 0
						for range 100 {
							elapse(time.Second) // probes happen meanwhile
							ask()
						}
						if all > 110 {
							c.t.Errorf("100 calls took %d attempts, want at most 110", all)
						}
						if open && all == 100 {
							c.t.Error("100 calls took no probe: a host that is well again would stay out")
						}
					}
					sick.Heal()
					elapse(20 * time.Minute)
					sick.Forget()
					for range 9 {
						all = 0
						ask()
						if all != 1 {
							c.t.Errorf("healed, a call took %d attempts", all)
						}
					}
					if got := len(sick.Requests()); got != 3 {
						c.t.Errorf("healed, the host got %d of 9 calls, want 3", got)
					}
				})
			})
		}
	}
}

// Two of the three are sick, each in its way: the third answers all.
func TestCampaignOfTwoFaults(t *testing.T) {
	faults := []kit.Fault{kit.Refused(), kit.Busy(), kit.QueueForever(), kit.CutJSON(), kit.ErrorInside(), kit.Unauthorized(), kit.TooManyRequests("1"), kit.EmptyInside()}
	for i, one := range faults {
		two := faults[(i+3)%len(faults)]
		t.Run(one.Name()+" and "+two.Name(), func(t *testing.T) {
			inCampaign(t, []Option{WithStream(quick)}, func(c *campaign) {
				c.fleet.Server("one").Break(one)
				c.fleet.Server("three").Break(two)
				for n := range 60 {
					if attempts, err := c.asks(n, n%2 == 0); err != nil || trips(attempts) > 3 {
						c.t.Fatalf("call %d: %v after %d attempts: %+v", n+1, err, trips(attempts), attempts)
					}
					elapse(100 * time.Millisecond)
				}
			})
		})
	}
}

// All are sick and then well again, in each way: calls fail meanwhile, but
// within a minute of the recovery all are answered at the first attempt.
func TestCampaignOfAnOutage(t *testing.T) {
	for _, fault := range kit.Faults() {
		if fault.Harmless() || fault.Name() == "Unauthorized" || fault.Name() == "InsufficientBalance" {
			continue // rests of ten minutes are meant
		}
		t.Run(fault.Name(), func(t *testing.T) {
			inCampaign(t, []Option{WithStream(quick), WithBreaker(BreakerPolicy{MaxOpenFor: 30 * time.Second})}, func(c *campaign) {
				for _, s := range c.fleet.Servers() {
					s.Break(fault)
				}
				for n := range 30 {
					ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
					req, err := kit.ChatRequest(ctx, c.fleet.Servers()[n%3].URL(), "sk-caller", testModel, "q", n%2 == 0)
					if err != nil {
						c.t.Fatal(err)
					}
					if resp, err := c.client.Do(req); err == nil {
						kit.ReadAnswer(resp)
					}
					cancel()
				}
				for _, s := range c.fleet.Servers() {
					s.Heal()
				}
				for n := range 60 { // probes
					elapse(time.Second)
					c.asks(n, false)
				}
				for n := range 12 {
					if attempts, err := c.asks(n, n%2 == 0); err != nil || trips(attempts) != 1 {
						c.t.Errorf("a minute after the recovery call %d: %v after %d attempts", n+1, err, trips(attempts))
					}
				}
				for _, name := range campaignHosts {
					if s := c.circuit(name); s != "closed" {
						c.t.Errorf("a minute after the recovery the circuit of %s is %s", name, s)
					}
				}
			})
		})
	}
}
