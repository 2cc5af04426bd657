package breakwater

import (
	"net/http"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// A Class is a string that says what became of an attempt.
type Class = outcome.Class

const (
	ClassOK           Class = "ok"             // a whole answer, or one well begun
	ClassCanceled     Class = "canceled"       // the caller left
	ClassDeadline     Class = "deadline"       // the caller's deadline passed before any payload
	ClassUnreachable  Class = "unreachable"    // DNS, dial, TLS, refused, reset before payload
	ClassUnavailable  Class = "unavailable"    // 408, 424, 5xx
	ClassRateLimited  Class = "rate_limited"   // 429
	ClassKeyRejected  Class = "key_rejected"   // 401, 403
	ClassNoFunds      Class = "no_funds"       // 402, or the host's words for it
	ClassUnsuited     Class = "unsuited"       // this host's limits: context length, a field it wants
	ClassNoModel      Class = "no_model"       // this endpoint does not have the model, or the operation
	ClassFiltered     Class = "filtered"       // the content is refused
	ClassRefused      Class = "refused"        // any other 4xx: the request is at fault
	ClassRedirected   Class = "redirected"     // 3xx to an inference call, or an unasked 101
	ClassBadResponse  Class = "bad_response"   // a 200 that is no answer: cut, malformed, HTML, empty
	ClassNoFirstToken Class = "no_first_token" // no payload in time, and another endpoint could serve
	ClassStalled      Class = "stalled"        // payload stopped coming
	ClassTruncated    Class = "truncated"      // the stream ended before the answer did
	ClassOutrun       Class = "outrun"         // another attempt of the call had its first payload before
	ClassRewrite      Class = "rewrite"        // Endpoint.Rewrite failed, or a layer of the user's did
	ClassCircuitOpen  Class = "circuit_open"   // not sent: the circuit is open
	ClassLimited      Class = "limited"        // not sent: a local limit
	ClassPaused       Class = "paused"         // not sent: the endpoint or account rests
	ClassNotCached    Class = "not_cached"     // not sent: the call wanted a kept answer only
	ClassUnserved     Class = "unserved"       // not sent: the endpoint that Call names does not exist or does not have the model
)

// A Verdict is what the loop does after an attempt.
type Verdict string

const (
	VerdictAccept    Verdict = "accept"    // the caller gets the answer
	VerdictAgain     Verdict = "again"     // the same endpoint once more
	VerdictElsewhere Verdict = "elsewhere" // another endpoint
	VerdictStop      Verdict = "stop"      // the call ends without an answer
)

// Usage counts the tokens of one answer, as the host reported them.
type Usage struct {
	PromptTokens, CompletionTokens, TotalTokens int
	CachedTokens                                int // of the prompt, from the host's prefix cache
	ReasoningTokens                             int // of the completion
}

func usageOf(u wire.Usage) Usage { return Usage(u) }

// An Attempt is one trip to one endpoint, or one that a local refusal spared.
type Attempt struct {
	N          int // from 1; 0 where nothing was sent
	Endpoint   string
	Model      string // by the endpoint's name for it
	Start      time.Time
	Wait       time.Duration // spent before it: backoff, Retry-After
	FirstToken time.Duration // from Start to the first payload; 0: there was none
	Elapsed    time.Duration // from Start to the end of the exchange
	Status     int           // HTTP status; 0: there was none
	Class      Class
	Verdict    Verdict
	Bytes      int64 // of the body, handed to the caller
	Usage      Usage
	// MayBeBilled: it reached the host, ended without an answer, and may have
	// been billed all the same.
	MayBeBilled bool
	Denied      bool  // another try was worth it, and RetryPolicy.Budget was spent
	Err         error // behind the class; its text quotes no URL, key or body
}

// A Trail follows the attempts of a call for those who never see its
// response, as users of SDKs do: see [Call]. Its zero value is ready; it may
// be read at any time from any goroutine.
type Trail struct {
	mu  sync.Mutex  // guards book
	log *attemptLog // not the call, which holds the request
}

// Attempts returns the attempts of the latest call made with this Trail, in order.
func (t *Trail) Attempts() []Attempt {
	t.mu.Lock()
	b := t.log
	t.mu.Unlock()
	if b == nil {
		return nil
	}
	return b.list()
}

// begin returns the book of another call, which the Trail is to tell from now on.
func (t *Trail) begin() *attemptLog {
	b := &attemptLog{}
	t.mu.Lock()
	t.log = b
	t.mu.Unlock()
	return b
}

// TrailOf returns the attempts behind a response, in order; nil where
// breakwater did not make them, as for an answer from the cache.
func TrailOf(resp *http.Response) []Attempt {
	if resp == nil || resp.Request == nil {
		return nil
	}
	c := callOf(resp.Request.Context())
	if c == nil {
		return nil
	}
	return c.log.list()
}

// A attemptLog is a trail as it is written.
type attemptLog struct {
	mu       sync.Mutex // guards what follows
	attempts []Attempt
	first    [1]Attempt // most trails need no more
}

// record appends to the trail and returns where.
func (b *attemptLog) record(a Attempt) int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.attempts == nil {
		b.attempts = b.first[:0]
	}
	b.attempts = append(b.attempts, a)
	return len(b.attempts) - 1
}

// amend changes what the trail says of one attempt.
func (b *attemptLog) amend(i int, change func(*Attempt)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change(&b.attempts[i])
}

// at returns what the trail says of one attempt.
func (b *attemptLog) at(i int) Attempt {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.attempts[i]
}

// list returns a copy of the trail, nil if there is none.
func (b *attemptLog) list() []Attempt {
	b.mu.Lock()
	defer b.mu.Unlock()
	return append([]Attempt(nil), b.attempts...)
}

// sum returns how many attempts were sent, and what became of the call: the
// class of its last attempt, or of the first that was well.
func (b *attemptLog) sum() (sent int, class Class) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, a := range b.attempts {
		sent = max(sent, a.N)
		if class != ClassOK {
			class = a.Class
		}
	}
	return sent, class
}
