// Package outage plays an outage: callers ask two hosts that fail in every way which
// breakwatertest knows. It keeps a book of what callers, hosts and events say of each call, so
// that tests can compare what observers make of it.
package outage

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// A Campaign says what to play.
type Campaign struct {
	Callers, Calls int                            // Calls of each of the Callers
	Watch          func(rt *breakwater.Transport) // called before the first call, if it is set
	Options        []breakwater.Option            // of the Transport, besides its base and endpoints
}

// A Call is what a caller and the events say of one call.
type Call struct {
	Good     bool               // the caller got a whole answer
	Left     bool               // the caller closed the body early
	Read     int64              // bytes that the caller read
	Reply    kit.Reply          // what it read
	End      breakwater.Event   // the event KindEnd
	Ends     int                // how many there were
	Attempts []breakwater.Event // that were sent
	Unsent   int                // attempts that were not
}

// A Book has what happened.
type Book struct {
	Calls    []*Call
	Renewals []breakwater.Event // attempts that were made for no call
	Unsent   int64              // attempts that were not sent
	Events   map[breakwater.Kind]int64
	Sent     map[string]int64 // requests that the base got, by endpoint
	Met      map[string]int   // of these, by the fault that the host had
	Lasted   time.Duration
	Status   breakwater.Status

	mu     sync.Mutex // guards all of it while calls are made
	byID   map[string]*Call
	faults map[string]string // that the hosts have now
}

type callKey struct{}

// observe notes an event.
func (b *Book) observe(ctx context.Context, e breakwater.Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.Events[e.Kind]++
	call, _ := ctx.Value(callKey{}).(*Call)
	switch e.Kind {
	case breakwater.KindEnd:
		call.End = e
		call.Ends++
		b.byID[e.Call] = call
	case breakwater.KindAttempt:
		switch {
		case e.Attempt == 0:
			b.Unsent++
			if call != nil {
				call.Unsent++
			}
		default:
			b.Renewals = append(b.Renewals, e) // sorted out when all calls are over
		}
	}
}

// settle gives each call its attempts.
func (b *Book) settle() {
	attempts := b.Renewals
	b.Renewals = nil
	for _, e := range attempts {
		if call := b.byID[e.Call]; call != nil {
			call.Attempts = append(call.Attempts, e)
		} else {
			b.Renewals = append(b.Renewals, e)
		}
	}
}

// Call returns the call of an id; nil if there is none.
func (b *Book) Call(id string) *Call { return b.byID[id] }

// Attempts returns the attempts that were sent, with those of renewals.
func (b *Book) Attempts() (all []breakwater.Event) {
	for _, call := range b.Calls {
		all = append(all, call.Attempts...)
	}
	return append(all, b.Renewals...)
}

// pause is how long a caller waits between calls: so long that 200 calls of each meet nearly all faults.
const pause = 20 * time.Second

// timeout is how long a caller waits. It is no multiple of breakwater's own times: who has its
// answer in the instant in which it leaves may be counted as either.
const timeout = 63 * time.Second

// prices are a dollar for each token, so that sums of costs are whole numbers.
var prices = map[string]breakwater.Price{"": {Input: 1e6, Output: 1e6}}

// Play plays the campaign in the bubble of synctest that t is in, and returns its book.
func Play(t *testing.T, c Campaign) *Book {
	t.Helper()
	b := &Book{Events: make(map[breakwater.Kind]int64), Sent: make(map[string]int64), Met: make(map[string]int), byID: make(map[string]*Call), faults: make(map[string]string)}
	names := []string{"primary", "backup"}
	fleet, err := kit.NewPipeFleet(kit.DeepSeek(names[0]), kit.DeepSeek(names[1]))
	if err != nil {
		t.Fatal(err)
	}
	defer fleet.Close()
	base := fleet.Transport()
	defer base.CloseIdleConnections()
	at := make(map[string]string)
	var endpoints []breakwater.Endpoint
	for i, name := range names {
		e := breakwater.Endpoint{Name: name, URL: fleet.Server(name).URL(), APIKey: fmt.Sprint("sk-", i), Host: breakwater.HostDeepSeek, Price: prices}
		req, err := http.NewRequest(http.MethodGet, e.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		at[req.URL.Host] = name
		endpoints = append(endpoints, e)
	}
	counting := breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		name := at[req.URL.Host]
		b.mu.Lock()
		b.Sent[name]++
		b.Met[b.faults[name]]++
		b.mu.Unlock()
		return base.RoundTrip(req)
	})
	rt, err := breakwater.New(append([]breakwater.Option{breakwater.WithBase(counting), breakwater.WithObserver(b.observe),
		breakwater.WithEndpoints(endpoints[0]), breakwater.WithBackup(endpoints[1])}, c.Options...)...)
	if err != nil {
		t.Fatal(err)
	}
	if c.Watch != nil {
		c.Watch(rt)
	}
	began := time.Now()
	stop := b.breaks(fleet, names)
	var all sync.WaitGroup
	for caller := range c.Callers {
		all.Go(func() {
			for n := range c.Calls {
				call := new(Call)
				call.ask(t, rt, endpoints[0].URL, caller, n)
				b.mu.Lock()
				b.Calls = append(b.Calls, call)
				b.mu.Unlock()
				<-time.After(pause)
			}
		})
	}
	all.Wait()
	stop()
	rt.Close()
	synctest.Wait()
	b.Lasted, b.Status = time.Since(began), rt.Status()
	b.settle()
	return b
}

// breaks has a host meet another fault every 15 seconds: the primary, the backup, none, or both.
func (b *Book) breaks(fleet *kit.Fleet, names []string) (stop func()) {
	done := make(chan struct{})
	var changes sync.WaitGroup
	changes.Go(func() {
		faults := kit.Faults()
		random := rand.New(rand.NewPCG(0, 0)) // each time in another order, so that none always follows one that opens circuits
		for n := 0; ; n++ {
			if n%len(faults) == 0 {
				random.Shuffle(len(faults), func(i, j int) { faults[i], faults[j] = faults[j], faults[i] })
			}
			for i, name := range names {
				var fault kit.Fault
				if who := n % 4; who == i || who == 3 {
					fault = faults[n%len(faults)]
				}
				b.mu.Lock()
				fleet.Server(name).Break(fault)
				b.faults[name] = fault.Name()
				b.mu.Unlock()
			}
			select {
			case <-done:
				return
			case <-time.After(15 * time.Second):
			}
		}
	})
	return func() { close(done); changes.Wait() }
}

// ask makes the n-th call of a caller. Half of them ask for a stream, pairs of callers ask the same, and now and
// then one leaves early.
func (call *Call) ask(t *testing.T, rt http.RoundTripper, url string, caller, n int) {
	ctx, cancel := context.WithTimeout(context.WithValue(t.Context(), callKey{}, call), timeout)
	defer cancel()
	req, err := kit.ChatRequest(ctx, url, "sk-caller", "deepseek-chat", fmt.Sprint(caller/2, " ", n/3), n%2 == 0)
	if err != nil {
		t.Error(err)
		return
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return
	}
	body := &counted{ReadCloser: resp.Body}
	resp.Body = body
	defer func() { call.Read = body.n }()
	if n%20 == 10 && resp.StatusCode == http.StatusOK {
		io.CopyN(io.Discard, resp.Body, 100)
		resp.Body.Close()
		call.Left = true
		return
	}
	call.Reply, err = kit.ReadAnswer(resp)
	call.Good = err == nil && resp.StatusCode == http.StatusOK && call.Reply.Content != ""
}

type counted struct {
	io.ReadCloser
	n int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.ReadCloser.Read(p)
	c.n += int64(n)
	return n, err
}
