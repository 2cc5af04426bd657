package pace

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

type event struct {
	at time.Duration
	do func()
}
type events []event

func (e events) Len() int           { return len(e) }
func (e events) Less(i, j int) bool { return e[i].at < e[j].at }
func (e events) Swap(i, j int)      { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)        { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	o := *e
	x := o[len(o)-1]
	*e = o[:len(o)-1]
	return x
}

type job struct {
	came  time.Duration
	tries int
}
type proc struct {
	rate      *Rate
	perSec    float64
	tokens    float64
	at        time.Duration
	queue     []*job
	until     time.Duration
	armed     time.Duration // of the next pump
	calls, ok int
}

// A config is a host, and the processes that use it.
type config struct {
	name                              string
	n                                 int // processes
	perSecond, burst, charge, offered float64
	says                              bool    // it says Retry-After
	open                              int     // requests at a time; 0: it limits the rate
	chance                            float64 // the share that is refused whatever the rate is
	least, least100                   float64 // the latter of 100 processes, if it differs
}

const service = 500 * time.Millisecond

func simulate(c config, lasts time.Duration, seed uint64) outcome {
	rnd := rand.New(rand.NewPCG(seed, 1))
	base := time.Unix(1e9, 0)
	var q events
	var now time.Duration
	at := func(t time.Duration, do func()) { heap.Push(&q, event{max(t, now), do}) }
	level, lat := c.burst, time.Duration(0)
	open := 0
	served, received := 0, 0
	servedLate := 0
	var waits []float64
	procs := make([]*proc, c.n)
	for i := range procs {
		procs[i] = &proc{armed: math.MaxInt64}
	}
	const maxWait = 5 * time.Second
	var pump func(p *proc)
	arm := func(p *proc, t time.Duration) {
		if t < p.armed {
			p.armed = t
			at(t, func() {
				if p.armed == t {
					p.armed = math.MaxInt64
					pump(p)
				}
			})
		}
	}
	host := func(p *proc, j *job, sent time.Duration) {
		received++
		ok := true
		wait := 0.0
		if c.chance > 0 {
			ok = rnd.Float64() >= c.chance
		} else if c.open > 0 {
			ok = open < c.open
		} else {
			level = min(c.burst, level+c.perSecond*(now-lat).Seconds())
			lat = now
			if level >= 1 {
				level--
			} else {
				level = max(0, level-c.charge)
				wait = (1 - level) / c.perSecond
				ok = false
			}
		}
		if ok {
			open++
			at(now+time.Duration((0.5+rnd.Float64())*float64(service)), func() { open-- })
		}
		back := now + time.Duration(rnd.ExpFloat64()*5e6)
		at(back, func() {
			if ok {
				served++
				if now > 5*time.Second && now < lasts {
					servedLate++
				}
				p.ok++
				waits = append(waits, (now - j.came).Seconds())
			} else {
				var rest time.Duration
				if c.says {
					rest = time.Duration(math.Ceil(wait)) * time.Second
					p.until = max(p.until, now+rest)
				}
				if p.rate == nil {
					p.rate = New(base.Add(now), float64(p.calls)/max(now.Seconds(), 1), 0, 0.2, true)
				} else {
					p.rate.Refused(base.Add(now), base.Add(sent), rest)
				}
				p.perSec = p.rate.PerSecond()
				j.tries++
				if j.tries < 3 {
					p.queue = append([]*job{j}, p.queue...)
				}
			}
			pump(p)
		})
	}
	pump = func(p *proc) {
		for len(p.queue) > 0 && now-p.queue[0].came > maxWait {
			p.queue = p.queue[1:]
		}
		for len(p.queue) > 0 {
			if p.until > now {
				arm(p, p.until)
				return
			}
			if p.perSec > 0 {
				p.tokens = min(1, p.tokens+p.perSec*(now-p.at).Seconds())
				p.at = now
				if p.tokens < 1-1e-9 {
					arm(p, now+time.Duration((1-p.tokens)/p.perSec*1e9)+1)
					return
				}
				p.tokens--
			}
			if p.rate != nil {
				p.rate.Sent(base.Add(now), len(p.queue) > 1)
				p.perSec = p.rate.PerSecond()
			}
			j := p.queue[0]
			p.queue = p.queue[1:]
			sent := now
			at(now+time.Duration(rnd.ExpFloat64()*5e6), func() { host(p, j, sent) })
		}
	}
	var arrive func()
	calls := 0
	arrive = func() {
		if now > lasts {
			return
		}
		calls++
		p := procs[rnd.IntN(c.n)]
		p.calls++
		if p.rate != nil {
			p.rate.Asked(base.Add(now))
		}
		if p.perSec == 0 || float64(len(p.queue))/p.perSec < maxWait.Seconds() {
			p.queue = append(p.queue, &job{came: now})
			pump(p)
		}
		at(now+time.Duration(rnd.ExpFloat64()/c.offered*1e9), arrive)
	}
	at(0, arrive)
	for len(q) > 0 {
		e := heap.Pop(&q).(event)
		now = e.at
		e.do()
	}
	R := c.perSecond
	if c.chance > 0 {
		R = c.offered
	} else if c.open > 0 {
		R = float64(c.open) / service.Seconds()
	}
	slices.Sort(waits)
	var sum, sq float64
	for _, p := range procs {
		x := float64(p.ok) / float64(max(p.calls, 1))
		sum += x
		sq += x * x
	}
	return outcome{
		goodput:  float64(servedLate) / (min(R, c.offered) * (lasts - 5*time.Second).Seconds()),
		perCall:  float64(received) / float64(calls),
		p99:      waits[len(waits)*99/100],
		fairness: sum * sum / float64(c.n) / sq,
	}
}

// An outcome is what a simulation came to.
type outcome struct{ goodput, perCall, p99, fairness float64 }

// Processes that share a host of which they know nothing use nearly all of its rate, in even
// shares, and are refused seldom.
func TestRate_IsFound(t *testing.T) {
	for _, c := range []config{
		{name: "a refusal costs 5 %", perSecond: 30, burst: 30, charge: 0.05, offered: 60, least: 0.96},
		{name: "a refusal costs a request", perSecond: 30, burst: 30, charge: 1, offered: 60, least: 0.88, least100: 0.4},
		{name: "a small bucket", perSecond: 50, burst: 5, offered: 100, least: 0.88},
		{name: "it says Retry-After", perSecond: 30, burst: 30, offered: 60, says: true, least: 0.95},
		{name: "a tenth more than it takes", perSecond: 30, burst: 30, offered: 33, least: 0.95},
		{name: "a tenth less than it takes", perSecond: 30, burst: 30, offered: 27, least: 0.95},
		{name: "many", perSecond: 500, burst: 500, offered: 1000, least: 0.97},
		{name: "a tenth is refused by chance", chance: 0.1, offered: 50, least: 0.97},
		{name: "a quarter is refused by chance", chance: 0.25, offered: 50, least: 0.65},
		{name: "it limits what is open", open: 100, offered: 100, least: 0.88},
	} {
		for _, n := range []int{1, 10, 100} {
			c.n = n
			got := simulate(c, 120*time.Second, 1)
			t.Logf("%s, %d processes: %+v", c.name, n, got)
			if c.least100 > 0 && n == 100 {
				c.least = c.least100
			}
			if got.goodput < c.least || got.perCall > 1.6 || got.p99 > 5.2 || got.fairness < 0.75 {
				t.Errorf("%s, %d processes: %+v, want at least %v of the rate, 1.6 requests per call, 5.2 s and 0.75", c.name, n, got, c.least)
			}
		}
	}
}
