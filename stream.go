package breakwater

import "time"

// StreamPolicy sets the clocks and bounds of an answer on its way. Headers
// prove nothing here: DeepSeek answers 200 first and queues then, so all
// clocks look at payload, the bytes that carry an answer.
type StreamPolicy struct {
	// FirstToken is how long an attempt at a stream may show no payload, from
	// its start, while another endpoint could serve: the call goes there then.
	// It is at most half of what is left of the caller's deadline. Default 30s.
	FirstToken time.Duration

	// Thinking takes FirstToken's place where the call asks the model to think
	// or the model's name says that it does. It also bounds the silence of a
	// JSON call while another endpoint could serve. Default 5min.
	Thinking time.Duration

	// Queued is how long a JSON answer may consist of blank lines only, while
	// another endpoint could serve; where the host is known to answer before
	// it queues, also how long it may take to do so. Default 60s.
	Queued time.Duration

	// Stall is how long a stream may bring no payload behind the commit before
	// it ends in ErrStalled; five times that while keep-alives come and no other
	// endpoint could serve. Before the commit it bounds a pause within a JSON
	// answer while another endpoint could serve. Default 60s.
	Stall time.Duration

	// Hedge is how long an attempt may show no payload before another account is
	// asked beside it. The first payload wins; the other attempt is cancelled,
	// and may have been billed. Hedges draw on RetryPolicy.Budget. Default off.
	Hedge time.Duration

	// Rescue is how a streamed chat goes on that breaks behind its first payload.
	// Rescues draw on RetryPolicy.Budget. For them, what an answer says is kept
	// while it can be gone on from, up to 4 MiB as it stands in JSON: more than the
	// 384K tokens of DeepSeek's longest answers. Beyond that, none is tried.
	// Default RescueContinue.
	Rescue Rescue

	// ErrorFrames has a stream that ends in a typed error tell it in an event of
	// its wire's own shape before that, for clients in other languages that see
	// the stream but not the error. Where the host's own event tells of an error,
	// there is no second.
	ErrorFrames bool

	// KeepComments passes SSE comments on. By default they are stripped: several
	// parsers trip over them.
	KeepComments bool

	// MaxBuffer is the size, in bytes, up to which a JSON answer is checked
	// whole before it is handed over. Default 8 MiB.
	MaxBuffer int64
}

// maxEvent bounds one event of a stream, in bytes.
const maxEvent = 16 << 20

// keepAliveStalls is how many times Stall a stream may live on keep-alives
// alone, while nobody else could serve.
const keepAliveStalls = 5

func (p StreamPolicy) resolve() (StreamPolicy, error) {
	f := fields{option: "WithStream"}
	resolveField(&f, "FirstToken", &p.FirstToken, 30*time.Second)
	resolveField(&f, "Thinking", &p.Thinking, 5*time.Minute)
	resolveField(&f, "Queued", &p.Queued, time.Minute)
	resolveField(&f, "Stall", &p.Stall, time.Minute)
	resolveField(&f, "MaxBuffer", &p.MaxBuffer, 8<<20)
	resolveField(&f, "Hedge", &p.Hedge, 0)
	f.check(p.Rescue >= RescueOff && p.Rescue <= RescueRestart, "Rescue is %d: want RescueContinue, RescueRestart or RescueOff", p.Rescue)
	return p, f.err()
}
