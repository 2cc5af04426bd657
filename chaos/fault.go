package chaos

// A Fault names what happens to a request. The names are those of breakwatertest's
// constructors, in snake_case, where both have the fault.
type Fault string

// The faults of the connection. The host gets no request.
const (
	// Refused is a *net.OpError with ECONNREFUSED.
	Refused Fault = "refused"
	// NoSuchHost is a *net.DNSError with IsNotFound.
	NoSuchHost Fault = "no_such_host"
	// DialTimeout is a *net.OpError of dialling that timed out, after Delay, which is 5s by
	// default.
	DialTimeout Fault = "dial_timeout"
	// BadCertificate is a *tls.CertificateVerificationError: the certificate is for another name.
	BadCertificate Fault = "bad_certificate"
	// Reset reads the request. Then it is a *net.OpError with ECONNRESET.
	Reset Fault = "reset"
	// BlackHole reads the request, and gives no answer until the request's context ends.
	BlackHole Fault = "black_hole"
)

// The faults that slow a right answer. Those of several rules add up, and each may come with
// one other fault.
const (
	// Latency waits for Delay before the request is sent.
	Latency Fault = "latency"
	// Slow makes a right answer slower: Queue, FirstToken, PerToken. The header comes when the
	// host sends its own, before the queue.
	Slow Fault = "slow"
	// Bandwidth sends the body at BytesPerSecond.
	Bandwidth Fault = "bandwidth"
)

// The faults that are a refusal. The host gets no request. The body has the host's own words
// and shape, as far as they are known, and Anthropic's shape on Messages.
const (
	// Status is Status, with RetryAfter, Body and ContentType.
	Status Fault = "status"
	// TooManyRequests is a 429 with RetryAfter.
	TooManyRequests Fault = "too_many_requests"
	// ConcurrencyLimit is the 429 of a host that gives Limit answers at once.
	ConcurrencyLimit Fault = "concurrency_limit"
	// QuotaThrottle is the 429 of a rate limit that ends within a minute.
	QuotaThrottle Fault = "quota_throttle"
	// ServerError is a 500, or what the host sends instead.
	ServerError Fault = "server_error"
	// Busy is the 503 of an overloaded host, or what the host sends instead.
	Busy Fault = "busy"
	// Overloaded is Anthropic's 529.
	Overloaded Fault = "overloaded"
	// HTMLError is the page of a proxy in front of the host, with Status. Default 502.
	HTMLError Fault = "html_error"
	// EmptyError is Status without a body. Default 502.
	EmptyError Fault = "empty_error"
	// Unauthorized is the 401 for a wrong key.
	Unauthorized Fault = "unauthorized"
	// Overdue is the error for an account without money: a 402, 403, 400 or 429.
	Overdue Fault = "overdue"
	// ModelNotFound is the error for an unknown model: a 404 or 400.
	ModelNotFound Fault = "model_not_found"
	// ContextLength is the error for a request that is too long for the model.
	ContextLength Fault = "context_length"
	// ContentFilter is the error for a prompt that the host refuses to answer.
	ContentFilter Fault = "content_filter"
)

// The faults inside a 200, without the host. They concern inference only. The host gets no
// request.
const (
	// QueueForever sends keep-alives until the request's context ends: comments in a stream,
	// blank lines instead of JSON, one for each KeepAlive.
	QueueForever Fault = "queue_forever"
	// BlankThenClose sends keep-alives for Queue, which is one minute by default, and then
	// ends the body cleanly.
	BlankThenClose Fault = "blank_then_close"
	// Silence sends nothing after the header.
	Silence Fault = "silence"
	// ErrorInside is an error in place of the answer.
	ErrorInside Fault = "error_inside"
	// HTMLInside is a web page in place of the answer.
	HTMLInside Fault = "html_inside"
	// EmptyInside has no body.
	EmptyInside Fault = "empty_inside"
)

// The faults inside the host's own 200. They concern inference only. If the host refuses the
// request, or compresses its answer by something other than gzip, its response stays as it is,
// and [RuleStats.Unfit] counts that. Faults that come after After deltas of a stream come at
// the end if there are fewer.
const (
	// CutJSON ends half of the JSON cleanly. A stream ends within its first event.
	CutJSON Fault = "cut_json"
	// MalformedJSON makes the JSON one that does not parse, or the first event.
	MalformedJSON Fault = "malformed_json"
	// CutStream ends a stream in io.ErrUnexpectedEOF, and JSON after half of it.
	CutStream Fault = "cut_stream"
	// ResetStream is like CutStream, with ECONNRESET.
	ResetStream Fault = "reset_stream"
	// EndStream ends a stream cleanly. JSON stays right.
	EndStream Fault = "end_stream"
	// StallStream sends nothing more until the request's context ends. Of JSON, half comes.
	StallStream Fault = "stall_stream"
	// StallKeepAlive sends only keep-alives. Instead of JSON it sends blank lines.
	StallKeepAlive Fault = "stall_keep_alive"
	// ErrorFrame sends an event with an error and ends the stream. For JSON it is like
	// ErrorInside.
	ErrorFrame Fault = "error_frame"
	// MalformedEvent makes the next event with payload one that is not JSON. For JSON it is
	// like MalformedJSON.
	MalformedEvent Fault = "malformed_event"
)

// A FaultInfo describes a fault.
type FaultInfo struct {
	Fault Fault
	What  string   // what happens, in a few words
	Args  []string // the fields of [Rule] that it uses, by their names in YAML
	// Inside reports that the fault is inside a 200, so that only inference meets it.
	Inside bool
	// Slows reports that the answer is right, only later.
	Slows bool

	needs []string // of Args, without which it is an error
	sends bool     // the host gets the request
}

// faults has a row for each fault.
var faults = []FaultInfo{
	{Fault: Refused, What: "the host refuses connections"},
	{Fault: NoSuchHost, What: "DNS does not know the host"},
	{Fault: DialTimeout, What: "no connection comes about in time", Args: []string{"delay"}},
	{Fault: BadCertificate, What: "no TLS handshake succeeds"},
	{Fault: Reset, What: "connections are reset after the request"},
	{Fault: BlackHole, What: "the host takes the request and stays silent"},

	{Fault: Latency, What: "the headers come late", Args: []string{"delay"}, needs: []string{"delay"}, Slows: true, sends: true},
	{Fault: Slow, What: "the queue, the first token or the tokens take longer", Args: []string{"queue", "keep_alive", "first_token", "per_token"}, needs: []string{"queue", "first_token", "per_token"}, Inside: true, Slows: true, sends: true},
	{Fault: Bandwidth, What: "the body comes slowly", Args: []string{"bytes_per_second"}, needs: []string{"bytes_per_second"}, Slows: true, sends: true},

	{Fault: Status, What: "a status of your choice", Args: []string{"status", "retry_after", "body", "content_type"}, needs: []string{"status"}},
	{Fault: TooManyRequests, What: "429", Args: []string{"retry_after"}},
	{Fault: ConcurrencyLimit, What: "429 that names how many answers the host gives at once", Args: []string{"limit", "retry_after"}},
	{Fault: QuotaThrottle, What: "429 of a limit that ends within a minute", Args: []string{"retry_after"}},
	{Fault: ServerError, What: "500"},
	{Fault: Busy, What: "503: the host is overloaded", Args: []string{"retry_after"}},
	{Fault: Overloaded, What: "529: the host is overloaded", Args: []string{"retry_after"}},
	{Fault: HTMLError, What: "the page of a proxy in front of the host", Args: []string{"status", "retry_after"}},
	{Fault: EmptyError, What: "an error status without a body", Args: []string{"status", "retry_after"}},
	{Fault: Unauthorized, What: "401: the key is refused"},
	{Fault: Overdue, What: "402: the account has no money"},
	{Fault: ModelNotFound, What: "the host does not have the model"},
	{Fault: ContextLength, What: "the request is too long for the model"},
	{Fault: ContentFilter, What: "the host does not answer the prompt"},

	{Fault: QueueForever, What: "a 200, then keep-alives without end", Args: []string{"keep_alive"}, Inside: true},
	{Fault: BlankThenClose, What: "a 200, then keep-alives, then a clean end", Args: []string{"queue", "keep_alive"}, Inside: true},
	{Fault: Silence, What: "a 200, then nothing", Inside: true},
	{Fault: ErrorInside, What: "an error in the body of a 200", Inside: true},
	{Fault: HTMLInside, What: "a web page in a 200", Inside: true},
	{Fault: EmptyInside, What: "a 200 without a body", Inside: true},

	{Fault: CutJSON, What: "half of the JSON, closed cleanly", Inside: true, sends: true},
	{Fault: MalformedJSON, What: "JSON that does not parse", Inside: true, sends: true},
	{Fault: CutStream, What: "the connection breaks within a stream", Args: []string{"after"}, Inside: true, sends: true},
	{Fault: ResetStream, What: "the connection is reset within a stream", Args: []string{"after"}, Inside: true, sends: true},
	{Fault: EndStream, What: "a stream ends cleanly in the middle", Args: []string{"after"}, Inside: true, sends: true},
	{Fault: StallStream, What: "a stream stops and stays open", Args: []string{"after"}, Inside: true, sends: true},
	{Fault: StallKeepAlive, What: "a stream goes on with keep-alives only", Args: []string{"after", "keep_alive"}, Inside: true, sends: true},
	{Fault: ErrorFrame, What: "an error event within a stream", Args: []string{"after"}, Inside: true, sends: true},
	{Fault: MalformedEvent, What: "an event that is no JSON within a stream", Args: []string{"after"}, Inside: true, sends: true},
}

// Faults returns all faults.
func Faults() []FaultInfo {
	all := make([]FaultInfo, len(faults))
	for i, f := range faults {
		f.Args = append([]string(nil), f.Args...)
		all[i] = f
	}
	return all
}

// info returns the row of a fault, or nil.
func (f Fault) info() *FaultInfo {
	for i := range faults {
		if faults[i].Fault == f {
			return &faults[i]
		}
	}
	return nil
}
