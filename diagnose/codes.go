package diagnose

// A Code names what was found. Codes are stable: programs may compare them.
type Code string

// What may be wrong with the endpoint itself, before anything is sent.
const (
	EndpointInvalid   Code = "endpoint-invalid"    // breakwater.New refuses the endpoint
	OptionInvalid     Code = "option-invalid"      // an Option of Run cannot be meant
	KeyMissing        Code = "key-missing"         // there is none, and the endpoint is not Keyless
	KeyMalformed      Code = "key-malformed"       // blanks, quotes, "Bearer ", a placeholder, a line break
	KeyOfAnotherHost  Code = "key-of-another-host" // its prefix says so; it is not sent
	KeyFunctionFailed Code = "key-function-failed"
	RewriteFailed     Code = "rewrite-failed"
	VerificationOff   Code = "verification-off" // the transport verifies no certificates
)

// Connection.
const (
	ProxyInUse        Code = "proxy-in-use"
	ProxyInvalid      Code = "proxy-invalid" // a variable has no URL of a proxy
	ProxyUnknown      Code = "proxy-unknown" // its name has no address
	ProxyRefused      Code = "proxy-refused"
	ProxySilent       Code = "proxy-silent"
	ProxyWantsLogin   Code = "proxy-wants-login" // 407
	ProxyDeclined     Code = "proxy-declined"    // it refuses to connect to the host
	DNSNoSuchHost     Code = "dns-no-such-host"
	DNSSilent         Code = "dns-silent"
	DNSFailed         Code = "dns-failed"
	DNSServerSilent   Code = "dns-server-silent" // one of several
	DNSServerFailed   Code = "dns-server-failed"
	DNSDisagree       Code = "dns-disagree"    // one has addresses, another says that there are none
	DNSForged         Code = "dns-forged"      // addresses that no public host has
	DNSFakeIP         Code = "dns-fake-ip"     // those of a local proxy program
	DNSLocalEntry     Code = "dns-local-entry" // the system knows another answer than its nameservers
	DNSSlow           Code = "dns-slow"
	TCPRefused        Code = "tcp-refused"
	TCPSilent         Code = "tcp-silent"
	TCPUnreachable    Code = "tcp-unreachable"
	TCPReset          Code = "tcp-reset"
	TCPFailed         Code = "tcp-failed"
	AddressFailed     Code = "address-failed"   // one of several
	IPv6Unreachable   Code = "ipv6-unreachable" // this machine has no IPv6
	TLSReset          Code = "tls-reset"        // behind the ClientHello
	TLSSilent         Code = "tls-silent"
	TLSRefused        Code = "tls-refused"    // by an alert
	TLSNotSpoken      Code = "tls-not-spoken" // something else answers at the port
	TLSFailed         Code = "tls-failed"
	TLSWrongName      Code = "tls-wrong-name"
	TLSExpired        Code = "tls-expired"
	TLSNotYetValid    Code = "tls-not-yet-valid"
	TLSWrongClock     Code = "tls-wrong-clock" // it is valid by the host's clock
	TLSUntrusted      Code = "tls-untrusted"
	TLSIntercepted    Code = "tls-intercepted" // by a product whose issuer is known, or by a root of this machine alone
	TLSExpiresSoon    Code = "tls-expires-soon"
	TLSAddressDiffers Code = "tls-address-differs" // at some addresses the handshake fails, at others it does not
	ConnectionReset   Code = "connection-reset"    // behind the request, before an answer
	ConnectionClosed  Code = "connection-closed"   // likewise
	HostSilent        Code = "host-silent"         // it has the request and sends nothing
	ReuseBroken       Code = "reuse-broken"        // a kept connection is closed when it is used again
	ConnectionFailed  Code = "connection-failed"   // in a way that has no code of its own
)

// Protocol.
const (
	HTTP2GoAway        Code = "http2-goaway"
	HTTP2RefusedStream Code = "http2-refused-stream"
	HTTP2Error         Code = "http2-error"
	HTTPMalformed      Code = "http-malformed" // no HTTP
	HeadersTooLarge    Code = "headers-too-large"
	BodyBroken         Code = "body-broken"   // of an answer that is no inference
	BodyTooLong        Code = "body-too-long" // it did not end in time
	Redirected         Code = "redirected"
	WebPage            Code = "web-page"   // a 200 in HTML
	EdgeError          Code = "edge-error" // a 5xx that is no API's
	Blocked            Code = "blocked"    // a firewall, a challenge
	ClockSkew          Code = "clock-skew"
)

// Application.
const (
	WrongPath          Code = "wrong-path"
	NotAnAPI           Code = "not-an-api" // a 200 that is no list of models
	HostError          Code = "host-error"
	Overloaded         Code = "overloaded"
	RateLimited        Code = "rate-limited"
	ConcurrencyLimited Code = "concurrency-limited"
	KeyRejected        Code = "key-rejected"
	KeyNotReceived     Code = "key-not-received"
	NoFunds            Code = "no-funds"
	BalanceLow         Code = "balance-low"
	ModelNotListed     Code = "model-not-listed"
	ModelUnknown       Code = "model-unknown" // the host refuses it
	ModelRetired       Code = "model-retired" // the host refuses a name that was retired
	ModelRenamed       Code = "model-renamed" // breakwater replaces a name that was retired
	NoModels           Code = "no-models"
	ContentRefused     Code = "content-refused"
	ContextTooLong     Code = "context-too-long"
	ReasoningMissing   Code = "reasoning-missing"
	RequestUnsuited    Code = "request-unsuited"
	RequestRefused     Code = "request-refused"
	AnswerNotStarted   Code = "answer-not-started" // no headers came
	AnswerQueued       Code = "answer-queued"      // only keep-alives came
	AnswerSilent       Code = "answer-silent"      // headers came, and nothing else
	AnswerEmpty        Code = "answer-empty"
	AnswerBlank        Code = "answer-blank" // blank lines, and then the end
	AnswerError        Code = "answer-error" // an error inside a 200
	AnswerMalformed    Code = "answer-malformed"
	AnswerCut          Code = "answer-cut"    // it ends cleanly in the middle
	AnswerBroken       Code = "answer-broken" // the connection breaks in the middle
	AnswerStalled      Code = "answer-stalled"
	OutOfResources     Code = "out-of-resources"
	FirstTokenSlow     Code = "first-token-slow"
	TokensSlow         Code = "tokens-slow"
	StreamGaps         Code = "stream-gaps"
	NoAnswer           Code = "no-answer"   // in a way that has no code of its own
	OutOfTime          Code = "out-of-time" // of Run
	Incident           Code = "incident"    // on the status page
)

// A rule has what a Code always is.
type rule struct {
	code     Code
	layer    Layer
	severity Severity // unless the place where it is found says otherwise
}

// rules has a row for each Code.
var rules = [...]rule{
	{EndpointInvalid, Application, Error}, {OptionInvalid, Application, Warning}, {KeyMissing, Application, Error}, {KeyMalformed, Application, Error},
	{KeyOfAnotherHost, Application, Error}, {KeyFunctionFailed, Application, Error}, {RewriteFailed, Application, Error},
	{VerificationOff, Connection, Warning},

	{ProxyInUse, Connection, Note}, {ProxyInvalid, Connection, Error}, {ProxyUnknown, Connection, Error},
	{ProxyRefused, Connection, Error}, {ProxySilent, Connection, Error}, {ProxyWantsLogin, Connection, Error}, {ProxyDeclined, Connection, Error},
	{DNSNoSuchHost, Connection, Error}, {DNSSilent, Connection, Error}, {DNSFailed, Connection, Error},
	{DNSServerSilent, Connection, Warning}, {DNSServerFailed, Connection, Warning}, {DNSDisagree, Connection, Warning},
	{DNSForged, Connection, Warning}, {DNSFakeIP, Connection, Note}, {DNSLocalEntry, Connection, Note}, {DNSSlow, Connection, Warning},
	{TCPRefused, Connection, Error}, {TCPSilent, Connection, Error}, {TCPUnreachable, Connection, Error}, {TCPReset, Connection, Error},
	{TCPFailed, Connection, Error}, {AddressFailed, Connection, Warning}, {IPv6Unreachable, Connection, Note},
	{TLSReset, Connection, Error}, {TLSSilent, Connection, Error}, {TLSRefused, Connection, Error}, {TLSNotSpoken, Connection, Error},
	{TLSFailed, Connection, Error}, {TLSWrongName, Connection, Error}, {TLSExpired, Connection, Error}, {TLSNotYetValid, Connection, Error},
	{TLSWrongClock, Connection, Error}, {TLSUntrusted, Connection, Error}, {TLSIntercepted, Connection, Warning}, {TLSExpiresSoon, Connection, Warning},
	{TLSAddressDiffers, Connection, Warning}, {ConnectionReset, Connection, Error}, {ConnectionClosed, Connection, Error},
	{HostSilent, Connection, Error}, {ReuseBroken, Connection, Warning}, {ConnectionFailed, Connection, Error},

	{HTTP2GoAway, Protocol, Error}, {HTTP2RefusedStream, Protocol, Error}, {HTTP2Error, Protocol, Error}, {HTTPMalformed, Protocol, Error}, {HeadersTooLarge, Protocol, Error},
	{BodyBroken, Protocol, Error}, {BodyTooLong, Protocol, Error}, {Redirected, Protocol, Error}, {WebPage, Protocol, Error},
	{EdgeError, Protocol, Error}, {Blocked, Protocol, Error}, {ClockSkew, Protocol, Warning},

	{WrongPath, Application, Error}, {NotAnAPI, Application, Error}, {HostError, Application, Error}, {Overloaded, Application, Error},
	{RateLimited, Application, Warning}, {ConcurrencyLimited, Application, Warning}, {KeyRejected, Application, Error},
	{KeyNotReceived, Application, Error}, {NoFunds, Application, Error}, {BalanceLow, Application, Warning},
	{ModelNotListed, Application, Warning}, {ModelUnknown, Application, Error}, {ModelRetired, Application, Error}, {ModelRenamed, Application, Note},
	{NoModels, Application, Warning}, {ContentRefused, Application, Error}, {ContextTooLong, Application, Error},
	{ReasoningMissing, Application, Error}, {RequestUnsuited, Application, Error}, {RequestRefused, Application, Error},
	{AnswerNotStarted, Application, Error}, {AnswerQueued, Application, Error}, {AnswerSilent, Application, Error}, {AnswerEmpty, Application, Error},
	{AnswerBlank, Application, Error}, {AnswerError, Application, Error}, {AnswerMalformed, Application, Error}, {AnswerCut, Application, Error},
	{AnswerBroken, Application, Error}, {AnswerStalled, Application, Error}, {OutOfResources, Application, Error},
	{FirstTokenSlow, Application, Warning}, {TokensSlow, Application, Warning}, {StreamGaps, Application, Warning},
	{NoAnswer, Application, Error}, {OutOfTime, Application, Warning}, {Incident, Application, Note},
}

// ruleOf returns the rule of a Code.
func ruleOf(code Code) rule {
	for _, r := range rules {
		if r.code == code {
			return r
		}
	}
	return rule{code: code, layer: Application, severity: Error}
}
