package breakwatertest

import "time"

// A Scenario is one failure of an LLM API that a client should survive. It has a
// primary host and a backup, and says what happens to them during the calls.
type Scenario struct {
	// Name says what happens.
	Name string
	// Stream reports whether the calls ask for streams.
	Stream bool
	// Begin breaks the hosts before the first call.
	Begin func(primary, backup *Server)
	// Calls is how many calls to make, six seconds apart, each with its own prompt.
	// 0: one.
	Calls int
	// Then, if it is not nil, changes the hosts before each later call.
	Then func(call int, primary, backup *Server)
}

// Scenarios returns sixteen scenarios: rate limits, short and long; server errors,
// once and for ever; connections that are reset or silent; a late first token;
// streams that are cut, stalled, malformed or unterminated; refusals that must not
// be resent; a backup that cannot continue a prefix; and an outage of a minute.
func Scenarios() []Scenario {
	always := func(f Fault) func(*Server, *Server) { return func(p, _ *Server) { p.Break(f) } }
	once := func(f Fault) func(*Server, *Server) { return func(p, _ *Server) { p.BreakNext(1, f) } }
	long := Pace{Tokens: 60, PerToken: 100 * time.Millisecond}
	paced := func(f Fault) func(*Server, *Server) {
		return func(p, b *Server) {
			p.SetPace(long)
			b.SetPace(long)
			p.BreakNext(1, f)
		}
	}
	return []Scenario{
		{Name: "429 with Retry-After 2 s", Stream: true, Begin: once(TooManyRequests("2"))},
		{Name: "429 for ever, without Retry-After", Stream: true, Begin: always(TooManyRequests(""))},
		{Name: "500 once", Stream: true, Begin: once(ServerError())},
		{Name: "503 for ever", Stream: true, Begin: always(Busy())},
		{Name: "reset before headers", Stream: true, Begin: always(Reset())},
		{Name: "no response at all", Stream: true, Begin: always(BlackHole())},
		{Name: "first token after 20 s", Stream: true, Begin: func(p, _ *Server) { p.SetPace(Pace{FirstToken: 20 * time.Second}) }},
		{Name: "cut after 40 of 60 tokens", Stream: true, Begin: paced(CutStream(40))},
		{Name: "silent stall after 20 tokens", Stream: true, Begin: paced(StallStream(20))},
		{Name: "malformed tenth event", Stream: true, Begin: paced(MalformedEvent(9))},
		{Name: "no terminator", Stream: true, Begin: always(NoDone())},
		{Name: "context length", Stream: true, Begin: always(ContextLength())},
		{Name: "content filter", Stream: true, Begin: always(ContentFilter())},
		{Name: "cut, and the backup rejects the prefix", Stream: true, Begin: func(p, b *Server) {
			paced(CutStream(40))(p, b)
			p.Break(PrefixRejected())
			b.Break(PrefixRejected())
		}},
		{Name: "primary down for a minute under 20 calls", Begin: always(Refused()), Calls: 20, Then: func(call int, p, _ *Server) {
			if call == 10 {
				p.Heal()
			}
		}},
		{Name: "the backup's model and usage", Begin: always(Refused())},
	}
}
