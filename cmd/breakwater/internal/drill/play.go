package drill

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
)

// The clients of a drill.
const (
	WithBreakwater = "breakwater"
	BareClient     = "bare"
)

// A Plan says how to play a script.
type Plan struct {
	// Clients are WithBreakwater, BareClient or both. Both are asked the same at the same time,
	// and each meets the same faults, in hosts of its own.
	Clients []string
	Seed    uint64
	// Stage makes the hosts of a client.
	Stage func(client string) (Stage, error)
	// Place says what the stages are, for the report.
	Place string
	// Viewer is told what happens. Nil: nobody is.
	Viewer Viewer
}

// A Viewer shows a drill that is under way. It is called from one goroutine, which neither calls nor
// faults wait for: a terminal that stands still delays nothing.
type Viewer interface {
	// Begin is called first, Tick now and then, Turn when a fault begins (or ends) and Done once
	// no call is under way.
	Begin(*Script)
	Tick(at time.Duration, now []glance)
	Turn(at time.Duration, a Act, begins bool)
	Done()
}

// A side is one client of a drill with its hosts.
type side struct {
	name   string
	stage  Stage
	caller *caller
	record *record
	close  func()
}

// Play plays a script and reports. When ctx ends, the drill ends early: calls under way are given
// up and count for nothing, and the report says so. Play returns an error only if it could not
// begin.
func Play(ctx context.Context, s *Script, p Plan) (*Report, error) {
	var sides []*side
	defer func() {
		for _, one := range sides {
			one.close()
		}
	}()
	for _, client := range p.Clients {
		one, err := newSide(client, s, p)
		if err != nil {
			return nil, err
		}
		sides = append(sides, one)
	}
	if p.Viewer != nil {
		p.Viewer.Begin(s)
	}
	began := time.Now()
	for _, one := range sides {
		one.record.began = began
	}
	played, lag, err := run(ctx, s, p, sides, began)
	if err != nil {
		return nil, err
	}
	var histories []history
	for _, one := range sides {
		histories = append(histories, one.record.history(one.name))
	}
	r := newReport(s, p, sides[0].stage.Hosts(), began, played, ctx.Err() != nil, histories)
	r.Lag = seconds(lag)
	for i, one := range sides {
		if e, ok := one.stage.(*embedded); ok && !r.Stopped {
			r.Clients[i].Complaints = e.complaints()
		}
	}
	return r, nil
}

func newSide(client string, s *Script, p Plan) (*side, error) {
	stage, err := p.Stage(client)
	if err != nil {
		return nil, err
	}
	one := &side{name: client, stage: stage, record: newRecord(), close: stage.Close}
	count := func(next http.RoundTripper) http.RoundTripper {
		return breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			if host := stage.HostOf(req); host != "" && req.Method == http.MethodPost { // a probe is no attempt
				one.record.sent(host)
			}
			return next.RoundTrip(req)
		})
	}
	var base http.RoundTripper
	switch client {
	case BareClient:
		base = count(stage.Bare())
	default:
		// Counts stand outside of the faults: what chaos refuses was sent, too.
		mine := []breakwater.Option{breakwater.WithAttemptMiddleware(count), breakwater.WithObserver(one.record.observe)}
		t, err := breakwater.New(slices.Concat(mine, stage.Options())...)
		if err != nil {
			stage.Close()
			return nil, err
		}
		base = t
		one.close = func() {
			t.Close()
			t.CloseIdleConnections()
			stage.Close()
		}
	}
	one.caller = &caller{client: &http.Client{Transport: base}, stage: stage, load: s.Load}
	if client == BareClient {
		one.caller.load.Model = stage.Model(s.Load.Model)
	}
	return one, nil
}

// run makes the calls and the faults. It returns how long calls began, and how late this machine
// woke who slept.
func run(ctx context.Context, s *Script, p Plan, sides []*side, began time.Time) (played, lag time.Duration, err error) {
	calling, stop := context.WithCancel(ctx)
	defer stop()
	seen := make(chan turn, 2*len(s.Timeline))
	var acts, loads sync.WaitGroup
	acts.Go(func() {
		if err = playTimeline(calling, s, sides, began, seen); err != nil {
			stop()
		}
	})
	acts.Go(func() { lag = watchLag(calling) })
	for _, one := range sides {
		loads.Go(func() { one.load(ctx, calling, s, p.Seed, began) })
	}
	ended := make(chan struct{})
	go func() { loads.Wait(); close(ended) }()
	watch(p.Viewer, sides, began, seen, ended)
	played = min(time.Since(began), s.Duration)
	stop()
	acts.Wait()
	if p.Viewer != nil {
		p.Viewer.Done()
	}
	return played, lag, err
}

// watchLag measures how late a sleeper wakes, until ctx ends: the 99th percentile. Callers and fake
// hosts wake as late.
func watchLag(ctx context.Context) time.Duration {
	const nap = 50 * time.Millisecond
	var all []time.Duration
	for ctx.Err() == nil {
		due := time.Now().Add(nap)
		sleepUntil(ctx, due)
		if ctx.Err() == nil {
			all = append(all, time.Since(due))
		}
	}
	return percentile(all, 0.99)
}

// watch shows the drill until it has ended.
func watch(v Viewer, sides []*side, began time.Time, seen <-chan turn, ended <-chan struct{}) {
	if v == nil {
		<-ended
		return
	}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	show := func() {
		var now []glance
		for _, one := range sides {
			now = append(now, one.record.glance(one.name))
		}
		v.Tick(time.Since(began), now)
	}
	for {
		select {
		case t := <-seen:
			v.Turn(t.at, t.act, t.begins)
		case <-tick.C:
			show()
			for _, one := range sides {
				if e, ok := one.stage.(*embedded); ok {
					e.forget()
				}
			}
		case <-ended:
			show()
			return
		}
	}
}

// A turn is the beginning or the end of an act.
type turn struct {
	at     time.Duration
	act    Act
	begins bool
}

// turns returns the turns of a timeline in order. What ends comes before what begins.
func turns(timeline []Act) []turn {
	var all []turn
	for _, a := range timeline {
		all = append(all, turn{a.At, a, true}, turn{a.End(), a, false})
	}
	slices.SortStableFunc(all, func(a, b turn) int {
		if c := cmp.Compare(a.at, b.at); c != 0 || a.begins == b.begins {
			return c
		}
		if a.begins {
			return 1
		}
		return -1
	})
	return all
}

// playTimeline breaks and heals hosts, and tells seen. When ctx ends, it heals what is still broken.
func playTimeline(ctx context.Context, s *Script, sides []*side, began time.Time, seen chan<- turn) error {
	for _, t := range turns(s.Timeline) {
		sleepUntil(ctx, began.Add(t.at))
		if ctx.Err() != nil && t.begins {
			continue
		}
		for _, one := range sides {
			if !t.begins {
				one.stage.Heal(t.act)
			} else if err := one.stage.Break(t.act); err != nil {
				return fmt.Errorf("breaking %s: %w", t.act.Host, err)
			}
		}
		if ctx.Err() == nil && t.at < s.Duration {
			seen <- t // it has room for all
		}
	}
	return nil
}

// load makes a client's calls while calling lasts, and waits for their answers while ctx lasts.
func (one *side) load(ctx, calling context.Context, s *Script, seed uint64, began time.Time) {
	l := one.caller.load
	questions := newQuestions(l, seed)
	var open sync.WaitGroup
	defer open.Wait()
	ask := func() {
		one.record.begin()
		one.record.end(one.caller.ask(ctx, questions.next(), began))
	}
	if l.Callers > 0 {
		for range l.Callers {
			open.Go(func() {
				for calling.Err() == nil && time.Since(began) < s.Duration {
					ask()
					sleepUntil(calling, time.Now().Add(max(l.Pause, time.Millisecond)))
				}
			})
		}
		return
	}
	rng := rand.New(rand.NewPCG(seed, 2))
	all, _ := l.calls(s.Duration)
	for i := range all {
		// Within its part of a second, each call begins at random: hosts see no steps.
		sleepUntil(calling, began.Add(time.Duration((float64(i)+rng.Float64())/l.PerSecond*float64(time.Second))))
		if calling.Err() != nil {
			return
		}
		open.Go(ask)
	}
}

// sleepUntil returns at a time, or when ctx ends.
func sleepUntil(ctx context.Context, t time.Time) {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// questions makes the same questions for the same seed.
type questions struct {
	load Load
	seed uint64

	mu  sync.Mutex // guards what follows
	rng *rand.Rand
	n   int
}

func newQuestions(l Load, seed uint64) *questions {
	return &questions{load: l, seed: seed, rng: rand.New(rand.NewPCG(seed, 3))}
}

// usual is how many questions come again and again.
const usual = 20

func (qs *questions) next() question {
	qs.mu.Lock()
	defer qs.mu.Unlock()
	l := qs.load
	i := qs.n
	qs.n++
	// Streams are spread evenly: of half, each second call is one.
	q := question{wire: l.Wires[i%len(l.Wires)], stream: int(float64(i+1)*l.Streams) > int(float64(i)*l.Streams)}
	if len(l.Wires) > 1 { // each wire has both
		round := i / len(l.Wires)
		q.stream = int(float64(round+1)*l.Streams) > int(float64(round)*l.Streams)
	}
	size := l.Prompt.Least + qs.rng.IntN(l.Prompt.Most-l.Prompt.Least+1)
	repeated := qs.rng.Float64() < l.Repeat
	if repeated {
		n := qs.rng.IntN(usual)
		q.stream = n%2 == 0 && l.Streams > 0 || l.Streams == 1
		q.prompt = fill(fmt.Sprintf("The usual question %d of drill %d. Answer in one short sentence: why does it rain?", n, qs.seed), l.Prompt.Least)
		return q
	}
	q.prompt = fill(fmt.Sprintf("Question %d of drill %d. Answer in one short sentence: why does it rain?", i, qs.seed), size)
	return q
}

// fill lengthens a prompt to a number of characters.
func fill(prompt string, size int) string {
	const filler = " The harbour has a breakwater."
	if more := size - len(prompt); more > 0 {
		prompt += strings.Repeat(filler, more/len(filler)+1)[:more]
	}
	return prompt
}
