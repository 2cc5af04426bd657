package breakwater

import (
	"sync"
	"time"

	"github.com/breakwater-go/breakwater/internal/outcome"
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
	mu  sync.Mutex  // guards log
	log *attemptLog // of the latest call; not the call itself, which holds the request
}

// Attempts returns the attempts of the latest call made with this Trail, in order.
func (t *Trail) Attempts() []Attempt {
	t.mu.Lock()
	log := t.log
	t.mu.Unlock()
	if log == nil {
		return nil
	}
	return log.list()
}

// begin returns the log of a new call, which the Trail shows from now on.
func (t *Trail) begin() *attemptLog {
	log := &attemptLog{}
	t.mu.Lock()
	t.log = log
	t.mu.Unlock()
	return log
}

// An attemptLog holds the attempts of one call while they are made.
type attemptLog struct {
	mu       sync.Mutex // guards what follows
	attempts []Attempt
	first    [1]Attempt // what attempts begins with: most calls need no more
}

// add appends an attempt and returns its place.
func (l *attemptLog) add(a Attempt) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.attempts == nil {
		l.attempts = l.first[:0]
	}
	l.attempts = append(l.attempts, a)
	return len(l.attempts) - 1
}

// update changes the attempt at a place.
func (l *attemptLog) update(i int, change func(*Attempt)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.attempts[i])
}

// at returns the attempt at a place.
func (l *attemptLog) at(i int) Attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.attempts[i]
}

// list returns a copy of the attempts, nil if there are none.
func (l *attemptLog) list() []Attempt {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]Attempt(nil), l.attempts...)
}

// sum returns how many attempts were sent, and what became of the call: the
// class of its first attempt that was well, otherwise of its last one.
func (l *attemptLog) sum() (sent int, class Class) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, a := range l.attempts {
		sent = max(sent, a.N)
		if class != ClassOK {
			class = a.Class
		}
	}
	return sent, class
}
