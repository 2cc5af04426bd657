package drill

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"
)

// ReportSchema names the form of a Report in JSON. Fields may be added to it; if one is changed
// or removed, the number grows.
const ReportSchema = "breakwater.drill/1"

//go:embed report.schema.json
var reportSchema []byte

// SchemaOfReports returns the JSON schema of a Report.
func SchemaOfReports() []byte { return reportSchema }

// A Report says what happened in a drill. Times are in seconds from its start. It has no prompt,
// answer or key.
type Report struct {
	Schema  string    `json:"schema"`
	Script  string    `json:"script"`
	Title   string    `json:"title"`
	Shows   string    `json:"shows"`
	Place   string    `json:"place"` // what was called: fake hosts, or the endpoints of a file
	Started time.Time `json:"started"`
	Planned float64   `json:"planned_seconds"`
	Played  float64   `json:"played_seconds"`
	Stopped bool      `json:"stopped"` // it was ended early; then it did not hold
	Seed    uint64    `json:"seed"`
	Hosts   []string  `json:"hosts"`
	// Lag is how late this machine woke who slept, in seconds: the 99th percentile. Above a tenth of a
	// second, the figures are also those of a busy machine.
	Lag float64 `json:"lag_seconds"`

	Held bool `json:"held"` // the first client held all objectives, and the drill was played to its end

	Faults  []FaultReport  `json:"faults"`
	Clients []ClientReport `json:"clients"`
}

// busyLag is the Lag from which on a report warns.
const busyLag = 0.1

// busy says that the machine was too busy for the drill, or nothing.
func (r *Report) busy() string {
	if r.Lag < busyLag {
		return ""
	}
	return fmt.Sprintf("This machine was busy: it woke who slept up to %s late. The figures are also its own.", secondsText(r.Lag))
}

// A FaultReport is a fault of the timeline.
type FaultReport struct {
	Host        string  `json:"host"`
	Fault       string  `json:"fault"`
	Text        string  `json:"text"` // with its arguments
	At          float64 `json:"at_seconds"`
	For         float64 `json:"for_seconds"`
	Probability float64 `json:"probability"`
}

// A ClientReport is what one client did, as its callers saw it.
type ClientReport struct {
	Client     string      `json:"client"` // breakwater or bare
	Held       bool        `json:"held"`   // all objectives
	Objectives []Objective `json:"objectives"`

	Calls      int `json:"calls"`    // that count: Answered, Failed and Wrong
	Answered   int `json:"answered"` // with the whole, right answer in time
	Failed     int `json:"failed"`   // with an error
	Wrong      int `json:"wrong"`    // with half or a wrong answer, and no error
	Stale      int `json:"stale"`    // of Answered: from the cache, older than its time to live
	Unfinished int `json:"unfinished"`
	Requests   int `json:"requests"` // sent to hosts

	Availability    float64     `json:"availability"`
	Errors          float64     `json:"errors"` // share of Failed and Wrong in the worst minute
	WrongShare      float64     `json:"wrong_share"`
	FirstToken      Percentiles `json:"first_token"` // of streams that were answered; without streams, of JSON
	Whole           Percentiles `json:"whole"`
	Detect          *Lapse      `json:"detect"`  // the longest; null: no fault that meets all requests met one
	Recover         *Lapse      `json:"recover"` // the longest of the primary; null: it kept its calls
	AttemptsPerCall float64     `json:"attempts_per_call"`
	Amplification   float64     `json:"amplification"` // the largest of a broken host

	AnsweredBy map[string]int  `json:"answered_by"`
	Why        []Reason        `json:"why"`        // of the calls that were not answered
	Complaints []Complaint     `json:"complaints"` // of fake hosts about the client
	Faults     []FaultResponse `json:"faults"`
	Circuits   []Circuit       `json:"circuits"`
	Seconds    []Second        `json:"seconds"`
}

// Percentiles are in seconds.
type Percentiles struct {
	P50 float64 `json:"p50_seconds"`
	P95 float64 `json:"p95_seconds"`
	P99 float64 `json:"p99_seconds"`
}

// A Reason is why calls were not answered.
type Reason struct {
	Why   string `json:"why"`
	Calls int    `json:"calls"`
}

// A Complaint is what a fake host thinks of the client: it retried too early, hammered, resent what
// was refused for good, or leaked a key. The words are those of breakwatertest.Fail. Large drills have
// none, because the hosts would have to keep all requests.
type Complaint struct {
	Host  string `json:"host"`
	What  string `json:"what"`
	Times int    `json:"times"`
}

// A Lapse is how long something took.
type Lapse struct {
	Seconds float64 `json:"seconds"`
	Never   bool    `json:"never"` // it did not happen in the drill; Seconds is 0
}

func (l Lapse) text() string {
	if l.Never {
		return "never"
	}
	return secondsText(l.Seconds)
}

// A FaultResponse is what a client did about a fault.
type FaultResponse struct {
	Host          string  `json:"host"`
	Fault         string  `json:"fault"`
	Met           bool    `json:"met"`        // a request was sent to the host meanwhile
	Detectable    bool    `json:"detectable"` // and all requests meet the fault: only then Detect counts
	NotAnswered   int     `json:"not_answered"`
	LastFailure   float64 `json:"last_failure_seconds"` // from the start of the fault until the last of these calls began
	Detect        Lapse   `json:"detect"`
	TookCalls     bool    `json:"took_calls"` // the host lost a tenth of its usual share or more, and could get it back
	Recover       Lapse   `json:"recover"`    // from the end of the fault
	Amplification float64 `json:"amplification"`
}

// A Circuit is a change at a host.
type Circuit struct {
	At   float64 `json:"at_seconds"`
	Host string  `json:"host"`
	To   string  `json:"to"`          // open, half-open, closed or pause
	For  float64 `json:"for_seconds"` // of a pause
}

// A Second is what became of the calls that began in it.
type Second struct {
	Second   int            `json:"second"`
	Answered int            `json:"answered"`
	Failed   int            `json:"failed"`
	Wrong    int            `json:"wrong"`
	P50      float64        `json:"first_token_p50_seconds"`
	P99      float64        `json:"first_token_p99_seconds"`
	By       map[string]int `json:"answered_by"`
}

// WriteJSON writes the report as JSON.
func (r *Report) WriteJSON(w io.Writer) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// seconds rounds to milliseconds.
func seconds(d time.Duration) float64 { return math.Round(d.Seconds()*1000) / 1000 }
