package breakwater

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// A campaign is three hosts of one tier, each of another kind, and a Transport
// over them. The second is the one to be sick.
type campaign struct {
	t      *testing.T
	fleet  *kit.Fleet
	rt     *Transport
	client *http.Client
	wire   kit.Wire
}

var campaignHosts = []string{"one", "two", "three"}

func inCampaign(t *testing.T, http2 bool, opts []Option, f func(*campaign)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		hosts := []kit.Host{kit.OpenRouter("one"), kit.DeepSeek("two"), kit.VLLM("three")}
		for i := range hosts {
			hosts[i].HTTP2 = http2
		}
		fleet, err := kit.NewPipeFleet(hosts...)
		if err != nil {
			t.Fatal(err)
		}
		base := fleet.Transport()
		base.MaxResponseHeaderBytes = 1 << 20 // as our own has it
		for i, s := range fleet.Servers() {
			e := Endpoint{Name: s.Name(), URL: s.URL(), APIKey: "sk-" + s.Name(), Host: []Host{HostOpenRouter, HostDeepSeek, HostVLLM}[i]}
			if i == 0 {
				e.Models = map[string]string{testModel: "deepseek/deepseek-v4.1-flash"}
			}
			opts = append(opts, WithEndpoints(e))
		}
		rt := over(t, base, opts...)
		c := &campaign{t: t, fleet: fleet, rt: rt, client: &http.Client{Transport: rt}}
		f(c)
		synctest.Wait()
		for _, s := range fleet.Servers() {
			if n := s.InFlight(); n != 0 {
				t.Errorf("%s still works on %d answers", s.Name(), n)
			}
			for _, r := range s.Requests() {
				if text := fmt.Sprint(r.Header); len(r.Header) > 0 && r.Key != "sk-"+s.Name() || strings.Count(text, "sk-") != strings.Count(text, "sk-"+s.Name()) {
					t.Errorf("%s was sent %s", s.Name(), text)
				}
			}
		}
		rt.Close()
		base.CloseIdleConnections()
		fleet.Close()
	})
}

// asks makes one call, meant for each host in turn, and reports what is wrong
// with its answer.
func (c *campaign) asks(n int, stream bool) (attempts []Attempt, err error) {
	return c.asksWithin(context.Background(), n, stream)
}

func (c *campaign) asksWithin(ctx context.Context, n int, stream bool) (attempts []Attempt, err error) {
	var trail Trail
	prompt := fmt.Sprintf("question %d", n)
	ctx = WithCall(ctx, Call{Trail: &trail})
	req, err := c.wire.Request(ctx, c.fleet.Servers()[n%3].WireURL(c.wire), "sk-caller", testModel, prompt, stream)
	if err != nil {
		c.t.Fatal(err)
	}
	resp, err := c.client.Do(req)
	if err != nil {
		return trail.Attempts(), err
	}
	reply, err := kit.ReadAnswer(resp)
	if err == nil && (reply.Content != kit.Answer(prompt) || reply.FinishReason == "") {
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

// aboutTheCall are the faults that say something about the call and not about
// the host, which is therefore asked again by the next call.
var aboutTheCall = map[string]bool{"ContextLength": true, "MissingReasoning": true, "ContentFilter": true}

// A tally is what became of the calls of a campaign.
type tally struct {
	calls, right, typed, asCame int
	attempts, sick              int   // sick: those at the sick host
	class                       Class // of the last attempt at the sick host, not ok if any was not
}

// ask makes one call and counts what became of it; anything else than an
// answer, a typed error after the commit, or the host's word on the call
// itself, is an error.
func (c *campaign) ask(sum *tally, fault kit.Fault, stream bool) {
	attempts, err := c.asks(sum.calls, stream)
	sum.calls++
	sum.attempts += trips(attempts)
	for _, a := range attempts {
		if a.Endpoint == "two" && a.N > 0 {
			sum.sick++
		}
		if a.Endpoint == "two" && a.N > 0 && (sum.class == "" || a.Class != ClassOK) { // a rescue may do better than what it rescues
			sum.class = a.Class
		}
	}
	var status *kit.StatusError
	switch {
	case err == nil:
		sum.right++
	case stream && fault.BehindCommit() && (errors.Is(err, ErrTruncated) || errors.Is(err, ErrStalled) || errors.Is(err, ErrBadResponse)),
		stream && fault.Name() == "ErrorFrame" && strings.Contains(err.Error(), "put an error into its answer"):
		sum.typed++
	case fault.Name() == "ContentFilter" && errors.As(err, &status) && status.Code == 400:
		sum.asCame++
	default:
		c.t.Fatalf("call %d: %v; attempts %+v", sum.calls, err, attempts)
	}
	most := 2
	if stream && fault.BehindCommit() {
		most += maxRescues
	}
	if trips(attempts) > most {
		c.t.Errorf("call %d took %d attempts, want at most %d: one host is sick", sum.calls, trips(attempts), most)
	}
}

// lightFaults are the kit's, those of a great size in one that shows the same:
// larger than any buffer that grows, and than the headers a base takes. In their
// ordinary sizes TestCampaign_OfWires has them.
func lightFaults() []kit.Fault {
	faults := kit.Faults()
	for i, f := range faults {
		switch f.Name() {
		case "Huge":
			faults[i] = kit.Huge(96 << 10)
		case "GzipBomb":
			faults[i] = kit.GzipBomb(96 << 10)
		case "HugeEvent":
			faults[i] = kit.HugeEvent(3, 96<<10)
		case "HeaderBomb":
			faults[i] = kit.HeaderBomb(2 << 20)
		}
	}
	return faults
}

// Of three hosts that share the load one is sick, in each way there is: every
// call is answered rightly or, where the fault shows after the commit, ends in
// a typed error; once the host is known to be sick, hardly a call still goes
// there; once it is well, it has its share again; no key goes astray and
// nothing is left. With -v, and without -race, it prints the table of docs/faults.md.
func TestCampaign(t *testing.T) {
	first, then := ifFull(30, 18), ifFull(100, 20) // by its sixth failure a host is known to be sick
	for _, fault := range lightFaults() {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/stream=%v", fault, stream), func(t *testing.T) {
				inCampaign(t, false, []Option{WithStream(quick)}, func(c *campaign) {
					sick := c.fleet.Server("two")
					sick.Break(fault)
					var before, after, healed tally
					for range first {
						c.ask(&before, fault, stream)
					}
					for range then {
						elapse(time.Second) // probes happen meanwhile
						c.ask(&after, fault, stream)
					}
					t.Logf("| %s | %s | %s | %d + %d | %d | %.2f | %.2f |", fault, map[bool]string{true: "stream", false: "JSON"}[stream], before.class,
						before.right+after.right, before.typed+after.typed, before.asCame+after.asCame, float64(before.attempts)/float64(first), float64(after.attempts)/float64(then))
					if after.attempts > then+10 && !aboutTheCall[fault.Name()] {
						t.Errorf("%d calls took %d attempts, want at most %d", then, after.attempts, then+10)
					}
					if knownSick := before.class != ClassOK && !aboutTheCall[fault.Name()]; knownSick && after.sick > 10 || after.typed > 3 {
						t.Errorf("of %d calls %d went to the sick host, %d ended in a typed error, want at most 10 and 3", then, after.sick, after.typed)
					}
					sick.Heal()
					elapse(20 * time.Minute)
					sick.Forget()
					for range 9 {
						c.ask(&healed, kit.Fault{}, stream)
					}
					if got := len(sick.Requests()); got != 3 || healed.attempts != 9 {
						t.Errorf("healed, the host got %d of 9 calls in %d attempts, want 3 in 9", got, healed.attempts)
					}
				})
			})
		}
	}
}

// The same on the other wires and over HTTP/2, in short.
func TestCampaign_OfWires(t *testing.T) {
	for _, on := range []struct {
		name  string
		wire  kit.Wire
		http2 bool
	}{
		{"completions", kit.Completions, false}, {"responses", kit.Responses, false}, {"messages", kit.Messages, false}, {"chat over HTTP2", kit.Chat, true},
	} {
		faults := kit.Faults()
		if !inFull() && !on.http2 {
			faults = lightFaults()
		}
		for _, fault := range faults {
			t.Run(on.name+"/"+fault.String(), func(t *testing.T) {
				inCampaign(t, on.http2, []Option{WithStream(quick)}, func(c *campaign) {
					c.wire = on.wire
					c.fleet.Server("two").Break(fault)
					var sum tally
					for n := range ifFull(12, 6) { // each host gets a third, in both forms
						c.ask(&sum, fault, n%2 == 0)
					}
					if len(c.fleet.Server("one").Requests()) == 0 || len(c.fleet.Server("three").Requests()) == 0 {
						t.Error("a host that is well was not asked")
					}
				})
			})
		}
	}
}

// Two of the three are sick, each in its way: the third answers all.
func TestCampaign_OfTwoFaults(t *testing.T) {
	faults := []kit.Fault{kit.Refused(), kit.Busy(), kit.QueueForever(), kit.CutJSON(), kit.ErrorInside(), kit.Unauthorized(), kit.TooManyRequests("1"), kit.EmptyInside()}
	for i, one := range faults {
		two := faults[(i+3)%len(faults)]
		t.Run(one.Name()+" and "+two.Name(), func(t *testing.T) {
			inCampaign(t, false, []Option{WithStream(quick)}, func(c *campaign) {
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
func TestCampaign_OfAnOutage(t *testing.T) {
	probes := ifFull(60, 20) // in the minute after the recovery
	for _, fault := range lightFaults() {
		switch fault.Name() {
		case "Unauthorized", "PlainUnauthorized", "InsufficientBalance", "Overdue":
			continue // rests of ten minutes are meant
		}
		t.Run(fault.Name(), func(t *testing.T) {
			inCampaign(t, false, []Option{WithStream(quick), WithBreaker(BreakerPolicy{MaxOpenFor: 30 * time.Second})}, func(c *campaign) {
				for _, s := range c.fleet.Servers() {
					s.Break(fault)
				}
				for n := range ifFull(30, 18) {
					ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
					if _, err := c.asksWithin(ctx, n, n%2 == 0); err == nil && !fault.Harmless() && !fault.BehindCommit() && fault.Name() != "IdleClosed" {
						t.Errorf("call %d was answered, and no host is well", n+1)
					}
					cancel()
				}
				for _, s := range c.fleet.Servers() {
					s.Heal()
				}
				for n := range probes {
					elapse(time.Minute / time.Duration(probes))
					c.asks(n, false)
				}
				for n := range 12 {
					if attempts, err := c.asks(n, n%2 == 0); err != nil || trips(attempts) != 1 {
						t.Errorf("a minute after the recovery call %d: %v after %d attempts", n+1, err, trips(attempts))
					}
				}
				for _, name := range campaignHosts {
					if s := c.circuit(name); s != "closed" {
						t.Errorf("a minute after the recovery the circuit of %s is %s", name, s)
					}
				}
			})
		})
	}
}

// GETs go to the host that they are meant for, and nobody else can answer them: while it
// fails now and then, or is away for moments, they are answered all the same. Inference goes
// on beside them.
func TestCampaign_OfSafeRequests(t *testing.T) {
	const perSecond, lasts = 4, 300 // GETs, seconds
	share := func(p float64) func(time.Duration, *rand.Rand) bool {
		return func(_ time.Duration, random *rand.Rand) bool { return random.Float64() < p }
	}
	away := func(down, every time.Duration) func(time.Duration, *rand.Rand) bool {
		return func(at time.Duration, _ *rand.Rand) bool { return at%every < down }
	}
	refuses := func(req *http.Request) (*http.Response, error) { return nil, &baseError{io.ErrUnexpectedEOF} }
	for _, tt := range []struct {
		name  string
		fails func(at time.Duration, random *rand.Rand) bool
		how   handler
	}{
		{"brown-out, 503", share(0.1), failing503},
		{"brown-out, 500", share(0.1), gives(500, "text/plain", "oops")},
		{"brown-out, no connection", share(0.1), refuses},
		{"flap, 503", away(time.Second, 10*time.Second), failing503},
		{"flap, no connection", away(time.Second, 10*time.Second), refuses},
		{"flap, often", away(300*time.Millisecond, 3*time.Second), failing503},
	} {
		t.Run(tt.name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(1, 2))
			var mu sync.Mutex
			var start time.Time
			sick := WithAttemptMiddleware(func(next http.RoundTripper) http.RoundTripper {
				return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
					mu.Lock()
					fails := strings.HasPrefix(req.URL.Host, "two") && tt.fails(time.Since(start), random)
					mu.Unlock()
					if !fails {
						return next.RoundTrip(req)
					}
					if req.Body != nil {
						req.Body.Close()
					}
					return tt.how(req)
				})
			})
			inCampaign(t, false, []Option{sick}, func(c *campaign) {
				start = time.Now()
				url := c.fleet.Server("two").URL()
				var good, failed, calls int
				var all sync.WaitGroup
				for n := range lasts * perSecond {
					all.Go(func() {
						got := gets(context.Background(), c.rt, url+[]string{"/models", "/user/balance"}[n%2])
						mu.Lock()
						defer mu.Unlock()
						if calls++; got.status() == 200 && got.err == nil {
							good++
						}
					})
					all.Go(func() {
						if _, err := c.asks(n, n%2 == 0); err != nil {
							mu.Lock()
							defer mu.Unlock()
							failed++
						}
					})
					mu.Lock()
					uneven := time.Duration(random.IntN(int(10 * time.Millisecond))) // a circuit lets nobody pass in the instant in which it opens
					mu.Unlock()
					elapse(time.Second/perSecond + uneven)
				}
				all.Wait()
				t.Logf("%s: %d of %d GETs answered, %d of %d calls failed", tt.name, good, calls, failed, calls)
				if float64(good) < 0.995*float64(calls) || failed > 0 {
					t.Errorf("%d of %d GETs answered, %d of %d calls failed, want at least 99.5 %% and none", good, calls, failed, calls)
				}
			})
		})
	}
}
