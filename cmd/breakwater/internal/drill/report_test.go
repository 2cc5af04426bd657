package drill

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

func at(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

// TestMeasure_Response measures the times to detect and to recover of a history made by hand.
func TestMeasure_Response(t *testing.T) {
	var calls []call
	for i := range 600 { // ten a second: primary to 10 s, backup to 25 s, then primary
		by := "primary"
		if i >= 100 && i < 250 {
			by = "backup"
		}
		calls = append(calls, call{at: at(float64(i) / 10), first: at(.1), took: at(.2), by: by})
	}
	acts := []Act{{At: at(10), For: at(10), Host: "primary"}}
	sent := []request{{at(10.1), "primary"}, {at(10.2), "primary"}, {at(15), "primary"}, {at(15), "backup"}, {at(21), "primary"}}
	for _, tt := range []struct {
		name    string
		changes []change
		detect  Lapse
	}{
		{"nothing was kept away", nil, Lapse{Never: true}},
		{"a circuit opened", []change{{at: at(10.5), host: "primary", what: "open"}}, Lapse{Seconds: .5}},
		{"another host's did", []change{{at: at(10.5), host: "backup", what: "open"}}, Lapse{Never: true}},
		{"after the fault", []change{{at: at(20.5), host: "primary", what: "open"}}, Lapse{Never: true}},
		{"a pause began first", []change{{at: at(10.2), host: "primary", what: pauseBegan, wait: at(5)}, {at: at(11), host: "primary", what: "open"}}, Lapse{Seconds: .2}},
		{"a call passed it over", []change{{at: at(12), host: "primary", what: passedOver}}, Lapse{Seconds: 2}},
		{"it was open already", []change{{at: at(9), host: "primary", what: "open"}}, Lapse{}},
		{"it was closed again before", []change{{at: at(8), host: "primary", what: "open"}, {at: at(9), host: "primary", what: "closed"}}, Lapse{Never: true}},
		{"a pause had ended before", []change{{at: at(2), host: "primary", what: pauseBegan, wait: at(5)}}, Lapse{Never: true}},
	} {
		f := response(history{calls: calls, requests: sent, changes: tt.changes}, acts, 0, time.Minute)
		if f.Detect != tt.detect {
			t.Errorf("%s: detected %+v, want %+v", tt.name, f.Detect, tt.detect)
		}
		// The window of twenty answers, eighteen of them the primary's, begins with two of the backup.
		if !f.TookCalls || f.Recover != (Lapse{Seconds: 4.8}) || !f.Met || f.Amplification != 0.03 {
			t.Errorf("%s: %+v", tt.name, f)
		}
	}
}

// TestMeasure_NeverBack: a host that has not its calls again when the drill, or its next fault,
// comes.
func TestMeasure_NeverBack(t *testing.T) {
	var calls []call
	for i := range 600 {
		by := "primary"
		if i >= 100 {
			by = "backup"
		}
		calls = append(calls, call{at: at(float64(i) / 10), by: by})
	}
	f := response(history{calls: calls}, []Act{{At: at(10), For: at(10), Host: "primary"}}, 0, time.Minute)
	if !f.TookCalls || !f.Recover.Never {
		t.Errorf("%+v", f)
	}
	f = response(history{calls: calls}, []Act{{At: at(10), For: at(49.5), Host: "primary"}}, 0, time.Minute)
	if f.TookCalls {
		t.Errorf("it had no time to come back: %+v", f)
	}
}

func TestMeasure_WorstMinute(t *testing.T) {
	var calls []call
	for i := range 300 { // one a second; ten fail in a row
		c := call{at: at(float64(i))}
		if i >= 100 && i < 110 {
			c.result = failed
		}
		calls = append(calls, c)
	}
	if got := worstMinute(calls); got != 10.0/60 {
		t.Errorf("worstMinute of five minutes = %v, want 1/6", got)
	}
	if got := worstMinute(calls[90:110]); got != 0.5 {
		t.Errorf("worstMinute of twenty seconds = %v, want 1/2", got)
	}
	if got := worstMinute(nil); got != 0 {
		t.Errorf("worstMinute of nothing = %v", got)
	}
}

func TestPercentile(t *testing.T) {
	var times []time.Duration
	for i := range 200 {
		times = append(times, time.Duration(200-i))
	}
	for _, tt := range []struct {
		q    float64
		want time.Duration
	}{{0.5, 100}, {0.95, 190}, {0.99, 198}, {1, 200}, {0, 1}} {
		if got := percentile(times, tt.q); got != tt.want {
			t.Errorf("percentile(%v) = %d, want %d", tt.q, got, tt.want)
		}
	}
	if percentile(nil, .5) != 0 {
		t.Error("percentile of nothing is not 0")
	}
}

func TestPercentText(t *testing.T) {
	for _, tt := range []struct {
		share float64
		want  string
	}{{1, "100 %"}, {0, "0 %"}, {0.9995, "99.95 %"}, {0.5, "50 %"}, {0.999999, "99.99 %"}, {0.000001, "0.01 %"}, {0.001, "0.1 %"}} {
		if got := percentText(tt.share); got != tt.want {
			t.Errorf("percentText(%v) = %q, want %q", tt.share, got, tt.want)
		}
	}
}

// TestJudge: each objective is held at its limit and missed beyond it; what could not be measured is
// held only if there was no occasion.
func TestJudge(t *testing.T) {
	limit, lapse := 0.5, 2*time.Second
	all := Objectives{&limit, &limit, &limit, &lapse, &lapse, &lapse, &limit, &limit}
	good := ClientReport{
		Calls: 10, Answered: 5, Availability: 0.5, Errors: 0.5, WrongShare: 0.5, FirstToken: Percentiles{P99: 2},
		Detect: &Lapse{Seconds: 2}, Recover: &Lapse{Seconds: 2}, AttemptsPerCall: 0.5, Amplification: 0.5,
	}
	objectives, held := judge(all, &good)
	if !held || len(objectives) != 8 {
		t.Errorf("at the limits: %v, %+v", held, objectives)
	}
	for name, spoil := range map[string]func(*ClientReport){
		"availability":      func(c *ClientReport) { c.Availability = 0.49 },
		"errors":            func(c *ClientReport) { c.Errors = 0.51 },
		"wrong":             func(c *ClientReport) { c.WrongShare = 0.51 },
		"first_token_p99":   func(c *ClientReport) { c.FirstToken.P99 = 2.01 },
		"detect":            func(c *ClientReport) { c.Detect = &Lapse{Never: true} },
		"recover":           func(c *ClientReport) { c.Recover = &Lapse{Seconds: 2.1} },
		"attempts_per_call": func(c *ClientReport) { c.AttemptsPerCall = 0.51 },
		"amplification":     func(c *ClientReport) { c.Amplification = 0.51 },
	} {
		c := good
		spoil(&c)
		objectives, held := judge(all, &c)
		for _, o := range objectives {
			if o.Held == (o.Name == name) {
				t.Errorf("%s is spoilt, and %s is held: %v", name, o.Name, o.Held)
			}
			if titles[o.Name] == "" || o.limitText() == "" || o.measuredText() == "" {
				t.Errorf("%+v has no text", o)
			}
		}
		if held {
			t.Errorf("%s is spoilt, and all is held", name)
		}
	}
	none := good
	none.Detect, none.Recover = nil, nil
	if _, held := judge(all, &none); !held {
		t.Error("without a fault to detect, it is missed")
	}
	none.Calls, none.Answered = 0, 0
	if _, held := judge(all, &none); held {
		t.Error("without a call, it is held")
	}
}

// hostile is a report whose texts come from a script of somebody else.
func hostile(t *testing.T) *Report {
	t.Helper()
	s := parsed(t, "title: \"<script>alert(1)</script> | `x` \\x1b[31m [a](b)\"\nshows: '&<img src=x onerror=1>'\n"+twoHosts+
		"timeline:\n  - {at: 5s, for: 1s, host: primary, fault: status, status: 503, content_type: '<b>', body: '<i>'}\n")
	return playInBubble(t, s, WithBreakwater, BareClient)
}

// TestReport_Hostile: a text of a script is text in each report. The picture is well-formed XML and
// loads nothing from elsewhere.
func TestReport_Hostile(t *testing.T) {
	r := hostile(t)
	var svg, md, text bytes.Buffer
	for _, err := range []error{r.WriteSVG(&svg), r.WriteMarkdown(&md, "timeline.svg"), r.WriteText(&text, Style{})} {
		if err != nil {
			t.Fatal(err)
		}
	}
	dec := xml.NewDecoder(&svg)
	titles := 0
	for {
		token, err := dec.Token()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
		if start, ok := token.(xml.StartElement); ok {
			switch start.Name.Local {
			case "svg", "style", "rect", "path", "text", "desc":
			case "title":
				titles++
			default:
				t.Errorf("the picture has an element %s", start.Name.Local)
			}
			for _, attr := range start.Attr {
				if strings.Contains(attr.Value, "://") && attr.Name.Local != "xmlns" {
					t.Errorf("the picture loads %s", attr.Value)
				}
			}
		}
	}
	if titles < 3 {
		t.Errorf("the picture has %d texts for those who cannot see it", titles)
	}
	for _, bad := range []string{"<script", "<img", "`x`", "\x1b", "[a]("} {
		if strings.Contains(md.String(), bad) {
			t.Errorf("the Markdown has %q", bad)
		}
	}
	for line := range strings.Lines(text.String()) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > columns || strings.Contains(line, "\x1b") {
			t.Errorf("%d columns: %q", n, line)
		}
	}
}

// TestReport_ValidatesAgainstSchema validates a report, as a program would that reads it.
func TestReport_ValidatesAgainstSchema(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(SchemaOfReports()))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("report.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("report.json")
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	if err := hostile(t).WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	report, err := jsonschema.UnmarshalJSON(&b)
	if err != nil {
		t.Fatal(err)
	}
	if err := schema.Validate(report); err != nil {
		t.Error(err)
	}
}

// TestReport_Busy: a machine that was too busy is told of, and one that was not is not.
func TestReport_Busy(t *testing.T) {
	r := hostile(t)
	for lag, want := range map[float64]bool{0: false, 0.09: false, 1.5: true} {
		r.Lag = lag
		var text, md bytes.Buffer
		_, _ = r.WriteText(&text, Style{}), r.WriteMarkdown(&md, "")
		for _, got := range []string{text.String(), md.String()} {
			if strings.Contains(got, "This machine was busy: it woke who slept up to 1.50 s late.") != want {
				t.Errorf("with a lag of %v: %s", lag, got)
			}
		}
	}
}

// TestReport_Schema: the schema that is checked in describes each field of a report, and a report
// has each field of the schema.
func TestReport_Schema(t *testing.T) {
	var schema struct {
		Defs map[string]struct {
			Properties map[string]json.RawMessage
			Required   []string
		} `json:"$defs"`
	}
	if err := json.Unmarshal(reportSchema, &schema); err != nil {
		t.Fatal(err)
	}
	for name, typ := range map[string]reflect.Type{
		"report": reflect.TypeFor[Report](), "fault": reflect.TypeFor[FaultReport](), "client": reflect.TypeFor[ClientReport](),
		"objective": reflect.TypeFor[Objective](), "percentiles": reflect.TypeFor[Percentiles](), "reason": reflect.TypeFor[Reason](),
		"lapse": reflect.TypeFor[Lapse](), "response": reflect.TypeFor[FaultResponse](), "circuit": reflect.TypeFor[Circuit](), "second": reflect.TypeFor[Second](), "complaint": reflect.TypeFor[Complaint](),
	} {
		def := schema.Defs[name]
		for i := range typ.NumField() {
			field, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if def.Properties[field] == nil {
				t.Errorf("the schema of %s has no %s", name, field)
			}
			delete(def.Properties, field)
		}
		for field := range def.Properties {
			t.Errorf("the schema of %s has %s, a report has not", name, field)
		}
	}
}
