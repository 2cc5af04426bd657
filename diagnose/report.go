package diagnose

import (
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/breakwater-go/breakwater"
)

// Version is the version of the JSON of a Report. It changes if a field is removed or gets
// another meaning. New fields and codes may come without that.
const Version = 1

// A Report is what [Run] found out about one endpoint. Its JSON is described by [Schema].
//
// What was not looked at, or could not be, is nil or empty. The report contains no key, prompt or
// answer. Texts of the host, such as header values, are cut to a few bytes of visible ASCII.
type Report struct {
	Version   int             `json:"version"`  // of the JSON: see Version
	Endpoint  string          `json:"endpoint"` // Name of the endpoint
	URL       string          `json:"url"`      // its URL, without a user and without a query
	Host      breakwater.Host `json:"host"`     // whose API it is taken for
	Language  Language        `json:"language"` // of the texts
	Began     time.Time       `json:"began"`
	Took      Millis          `json:"took_ms"`
	Verdict   Verdict         `json:"verdict"`
	Summary   string          `json:"summary"`  // one sentence
	Findings  []Finding       `json:"findings"` // the worst first
	Stages    []Stage         `json:"stages"`   // in order
	Proxy     *Proxy          `json:"proxy,omitempty"`
	Lookups   []Lookup        `json:"lookups,omitempty"`
	Addresses []Address       `json:"addresses,omitempty"`
	TLS       *TLS            `json:"tls,omitempty"`
	HTTP      *HTTP           `json:"http,omitempty"`
	Clock     *Clock          `json:"clock,omitempty"`
	Balance   *Balance        `json:"balance,omitempty"`
	Models    *Models         `json:"models,omitempty"`
	Answers   []Answer        `json:"answers,omitempty"` // with WithSpend
	Status    *StatusPage     `json:"status_page,omitempty"`
}

// A Verdict sums a Report up.
type Verdict string

const (
	Well     Verdict = "well"     // nothing is wrong
	Degraded Verdict = "degraded" // calls work, but something is wrong
	Down     Verdict = "down"     // calls fail
)

// Overall sums up the reports on endpoints that take each other's place. It is Down if all of
// them are, or if there is none, Well if all are, and Degraded otherwise.
func Overall(reports ...Report) Verdict {
	down, well := 0, 0
	for _, r := range reports {
		switch r.Verdict {
		case Down:
			down++
		case Well:
			well++
		}
	}
	switch {
	case down == len(reports):
		return Down
	case well == len(reports):
		return Well
	}
	return Degraded
}

// A Layer says where the cause of a Finding is.
type Layer string

const (
	Connection  Layer = "connection"  // DNS, proxies, TCP, TLS
	Protocol    Layer = "protocol"    // HTTP, and what something between the two ends makes of it
	Application Layer = "application" // the host's API, the key, the account, the model
)

// A Severity says how bad a Finding is.
type Severity string

const (
	Error   Severity = "error"   // calls fail: the verdict is Down
	Warning Severity = "warning" // calls work, but not as they should: the verdict is Degraded
	Note    Severity = "note"    // worth knowing: it changes no verdict
)

var severityRank = map[Severity]int{Note: 0, Warning: 1, Error: 2}

// A Finding is one thing that Run found out.
type Finding struct {
	Layer    Layer     `json:"layer"`
	Code     Code      `json:"code"` // does not depend on the language
	Severity Severity  `json:"severity"`
	Stage    StageName `json:"stage"` // where it was found
	Seen     string    `json:"seen"`  // what was seen
	Means    string    `json:"means"` // what it most likely means
	Next     string    `json:"next"`  // what to do next

	// Err is the cause, for errors.Is and errors.As, such as a *net.DNSError, ECONNREFUSED, a
	// *tls.CertificateVerificationError or breakwater.ErrKeyFunc. It may be nil. Its text is
	// not made for people: an error of the network may quote a URL.
	Err error `json:"-"`
}

// A StageName names a stage of [Run].
type StageName string

// The stages, in order.
const (
	StageConfig  StageName = "config"
	StageKeyForm StageName = "key-form"
	StageProxy   StageName = "proxy"
	StageDNS     StageName = "dns"
	StageTCP     StageName = "tcp"
	StageTLS     StageName = "tls"
	StageHTTP    StageName = "http"
	StageClock   StageName = "clock"
	StageKey     StageName = "key"
	StageBalance StageName = "balance"
	StageModel   StageName = "model"
	StageJSON    StageName = "json"   // an answer in JSON; only with WithSpend
	StageStream  StageName = "stream" // an answer as a stream; only with WithSpend
	StageStatus  StageName = "status-page"
)

// StageNames are all stages in order.
var StageNames = [...]StageName{
	StageConfig, StageKeyForm, StageProxy, StageDNS, StageTCP, StageTLS, StageHTTP, StageClock,
	StageKey, StageBalance, StageModel, StageJSON, StageStream, StageStatus,
}

// A State says how a stage went.
type State string

const (
	Running  State = "running" // only in what WithProgress tells
	Passed   State = "passed"
	Doubtful State = "doubtful" // it has a Warning
	Failed   State = "failed"   // it has an Error
	Skipped  State = "skipped"  // it could not be tried, or there was nothing to try
)

// A Stage is one part of the diagnosis.
type Stage struct {
	Name  StageName `json:"name"`
	State State     `json:"state"`
	Took  Millis    `json:"took_ms"`
	Text  string    `json:"text"` // one line, in the language of the report
}

// A Proxy is the proxy that calls to the endpoint go through.
type Proxy struct {
	URL      string `json:"url,omitempty"`      // without a user; empty: none applies
	Variable string `json:"variable,omitempty"` // that names it, such as HTTPS_PROXY; empty: it comes from the transport
	Bypass   string `json:"bypass,omitempty"`   // why none applies although one is set: NO_PROXY or loopback
}

// A Lookup is the answer of one resolver.
type Lookup struct {
	Resolver string   `json:"resolver"` // "system", or the address of a nameserver
	Name     string   `json:"name"`     // that was asked for
	IPv4     []string `json:"ipv4"`
	IPv6     []string `json:"ipv6"`
	Error    string   `json:"error,omitempty"` // nxdomain, no-data, timeout, servfail, refused, unreachable, failed
	Took     Millis   `json:"took_ms"`
}

// An Address is one address of the host, or of the proxy.
type Address struct {
	Address string `json:"address"`         // with its port
	TCP     string `json:"tcp"`             // ok, refused, timeout, unreachable, reset or failed
	TLS     string `json:"tls,omitempty"`   // ok or the code of a finding; empty: not tried
	Proxy   bool   `json:"proxy,omitempty"` // it is the proxy's
	Took    Millis `json:"took_ms"`         // of the TCP handshake
	TLSTook Millis `json:"tls_took_ms,omitempty"`
}

// TLS is what the handshake showed.
type TLS struct {
	Version   string    `json:"version"`            // such as TLS 1.3
	Protocol  string    `json:"protocol,omitempty"` // that was agreed on: h2 or http/1.1
	Subject   string    `json:"subject"`            // of the host's certificate
	Issuer    string    `json:"issuer"`
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
	Chain     []string  `json:"chain"`    // subjects, from the host's certificate on: as verified, else as sent
	Verified  bool      `json:"verified"` // the roots of this machine vouch for it, for this name and now
	Logged    bool      `json:"logged"`   // it has proofs of Certificate Transparency, as public certificates have
}

// HTTP is the answer to the request for the models.
type HTTP struct {
	Status    int    `json:"status"`         // 0: none came
	Protocol  string `json:"protocol"`       // such as HTTP/2.0
	Edge      string `json:"edge,omitempty"` // who stands in front of the host, as far as headers tell
	Server    string `json:"server,omitempty"`
	Via       string `json:"via,omitempty"`
	RequestID string `json:"request_id,omitempty"` // to quote to the host's support
	Took      Millis `json:"took_ms"`              // to the headers
}

// A Clock compares this machine's clock with the host's.
type Clock struct {
	Skew Millis `json:"skew_ms"` // how far this machine's clock is ahead, to about a second
}

// A Balance is the money of the account, as the host tells it.
type Balance struct {
	Available bool    `json:"available"` // the host says that it is enough for calls
	Amount    float64 `json:"amount"`
	Currency  string  `json:"currency,omitempty"` // empty: Amount is not known
}

// Models says which models the host lists.
type Models struct {
	Listed  int               `json:"listed"`  // how many
	Asked   string            `json:"asked"`   // the host's name for the model that was looked for, and asked if WithSpend
	Missing []string          `json:"missing"` // names that the endpoint uses and the host does not list
	Renamed map[string]string `json:"renamed"` // retired names that were asked for, and their successors
}

// An Answer is what became of one inference call.
type Answer struct {
	Stream     bool             `json:"stream"`
	Wire       Wire             `json:"wire"`
	Model      string           `json:"model"` // the host's name
	Class      breakwater.Class `json:"class"` // how it ended
	Status     int              `json:"status"`
	Headers    Millis           `json:"headers_ms"`             // from the start to the response's headers
	Queue      Millis           `json:"queue_ms"`               // from the start to the last keep-alive before the answer; 0: none came
	KeepAlives int              `json:"keep_alives"`            // before the answer
	FirstToken Millis           `json:"first_token_ms"`         // from the start; 0: none came
	Took       Millis           `json:"took_ms"`                // from the start to the end
	Tokens     int              `json:"tokens"`                 // of the answer; if the host says no usage, the events with content
	PerSecond  float64          `json:"tokens_per_second"`      // from the first to the last; 0: not known
	LongestGap Millis           `json:"longest_gap_ms"`         // between two parts of the stream
	RequestID  string           `json:"request_id,omitempty"`   // to quote to the host's support
	ServedBy   string           `json:"served_model,omitempty"` // the model that the answer says it is of
}

// A StatusPage is what the host says of itself. It decides nothing.
type StatusPage struct {
	URL       string `json:"url"`
	Reached   bool   `json:"reached"`
	Indicator string `json:"indicator,omitempty"` // none, minor, major or critical, as Statuspage has it
	Incidents int    `json:"incidents"`           // that are open
}

// Millis is a time that JSON has as a number of milliseconds.
type Millis time.Duration

// Duration returns m as a time.Duration.
func (m Millis) Duration() time.Duration { return time.Duration(m) }

// String returns m as a time.Duration prints.
func (m Millis) String() string { return time.Duration(m).String() }

// MarshalJSON encodes m in milliseconds, to the microsecond.
func (m Millis) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Duration(m).Round(time.Microsecond))/float64(time.Millisecond), 'f', -1, 64), nil
}

// UnmarshalJSON decodes a number of milliseconds.
func (m *Millis) UnmarshalJSON(text []byte) error {
	var ms float64
	if err := json.Unmarshal(text, &ms); err != nil {
		return err
	}
	*m = Millis(ms * float64(time.Millisecond))
	return nil
}

// An UnwellError is the error of a report whose verdict is not Well: see [Report.Err].
type UnwellError struct{ Report Report }

// Error returns the summary. It quotes no key.
func (e *UnwellError) Error() string {
	return fmt.Sprintf("breakwater: %s is %s: %s", e.Report.Endpoint, e.Report.Verdict, e.Report.Summary)
}

// Unwrap returns the causes of the findings.
func (e *UnwellError) Unwrap() []error {
	var errs []error
	for _, f := range e.Report.Findings {
		if f.Err != nil && f.Severity != Note {
			errs = append(errs, f.Err)
		}
	}
	return errs
}

// Err returns an [*UnwellError] unless the verdict is Well. errors.Is and errors.As find the
// causes in it.
func (r Report) Err() error {
	if r.Verdict == Well {
		return nil
	}
	return &UnwellError{r}
}

// Has reports whether the report has a finding of a code.
func (r Report) Has(code Code) bool {
	for _, f := range r.Findings {
		if f.Code == code {
			return true
		}
	}
	return false
}
