package chaos_test

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/chaos"
)

func TestNew_SaysWhatWasMeant(t *testing.T) {
	for _, test := range []struct {
		name string
		rule chaos.Rule
		want []string
	}{
		{"no fault", chaos.Rule{}, []string{"fault is missing", "black_hole"}},
		{"another form of a name", chaos.Rule{Fault: "BlackHole"}, []string{"did you mean black_hole?"}},
		{"another word", chaos.Rule{Fault: "503"}, []string{"did you mean busy?"}},
		{"no such fault", chaos.Rule{Fault: "gremlins"}, []string{`there is no fault "gremlins"`, "the faults are refused"}},
		{"an argument of another fault", chaos.Rule{Fault: chaos.Busy, Delay: time.Second}, []string{"busy has no argument delay", "retry_after"}},
		{"an argument of none", chaos.Rule{Fault: chaos.Refused, After: 3}, []string{"refused has no argument after"}},
		{"a missing argument", chaos.Rule{Fault: chaos.Latency}, []string{"latency needs delay"}},
		{"no way to be slow", chaos.Rule{Fault: chaos.Slow}, []string{"slow needs queue or first_token or per_token"}},
		{"keep-alives of no queue", chaos.Rule{Fault: chaos.Slow, PerToken: 1, KeepAlive: 1}, []string{"without effect"}},
		{"a percentage", chaos.Rule{Fault: chaos.Busy, Probability: 30}, []string{"for 30 percent write 0.3"}},
		{"a share above 100", chaos.Rule{Fault: chaos.Busy, Share: 200}, []string{"share is 200"}},
		{"no number", chaos.Rule{Fault: chaos.Busy, Probability: math.NaN()}, []string{"probability is NaN"}},
		{"negative", chaos.Rule{Fault: chaos.Latency, Delay: -1, Every: -2, From: -3}, []string{"delay is negative", "every is -2", "from is -3ns"}},
		{"an end before the begin", chaos.Rule{Fault: chaos.Busy, From: 2, Until: 1}, []string{"until (1ns) is not behind from (2ns)"}},
		{"half of a flap", chaos.Rule{Fault: chaos.Busy, On: time.Second}, []string{"on and off belong together"}},
		{"no status", chaos.Rule{Fault: chaos.Status, Status: 99}, []string{"between 200 and 599"}},
		{"no error", chaos.Rule{Fault: chaos.HTMLError, Status: 200}, []string{"between 400 and 599"}},
		{"a header in a type", chaos.Rule{Fault: chaos.Status, Status: 500, ContentType: "a\r\nb"}, []string{"line break"}},
		{"no endpoint", chaos.Rule{Fault: chaos.Busy, Match: chaos.Match{Endpoints: []string{"b"}}}, []string{`there is no endpoint "b"`, "there are a"}},
		{"no operation", chaos.Rule{Fault: chaos.Busy, Match: chaos.Match{Operations: []string{"chat"}}}, []string{`no operation "chat"`, "chat/completions"}},
		{"no method", chaos.Rule{Fault: chaos.Busy, Match: chaos.Match{Methods: []string{"post"}}}, []string{`"post" is no HTTP method`}},
		{"no model", chaos.Rule{Fault: chaos.Busy, Match: chaos.Match{Models: []string{"*-pro"}}}, []string{`the model "*-pro"`}},
		{"a URL for a host", chaos.Rule{Fault: chaos.Busy, Match: chaos.Match{Hosts: []string{"http://a.test/v1"}}}, []string{"no host but a URL"}},
		{"all hosts", chaos.Rule{Fault: chaos.Busy, Match: chaos.Match{Hosts: []string{"*"}}}, []string{"AllowRealHosts"}},
	} {
		_, err := chaos.New(chaos.Config{
			Endpoints: []breakwater.Endpoint{{Name: "a", URL: "http://a.test"}},
			Rules:     []chaos.Rule{test.rule},
		})
		for _, want := range test.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v, want %q in it", test.name, err, want)
			}
		}
	}
}

func TestSet_ChangesNothingIfARuleIsWrong(t *testing.T) {
	i, err := chaos.New(chaos.Config{Rules: []chaos.Rule{{Fault: chaos.Busy}, {Fault: chaos.Busy}}})
	if err != nil {
		t.Fatal(err)
	}
	twice := []chaos.Rule{{Name: "a", Fault: chaos.Busy}, {Name: "a", Fault: chaos.Reset}}
	if err := i.Set(twice...); err == nil || !strings.Contains(err.Error(), `two rules are named "a"`) {
		t.Errorf("Set = %v, want that two rules have one name", err)
	}
	if err := i.Add(chaos.Rule{Name: "busy-2", Fault: chaos.Busy}); err == nil {
		t.Error("Add took a name that is taken")
	}
	if got := i.Rules(); len(got) != 2 || got[0].Name != "busy" || got[1].Name != "busy-2" {
		t.Errorf("the rules are %v, want busy and busy-2", got)
	}
	if !i.Remove("busy") || i.Remove("busy") || len(i.Rules()) != 1 {
		t.Error("Remove does not remove once")
	}
}

// A Rule that was written is the one that is read, whatever is in it.
func TestRule_JSON(t *testing.T) {
	text := `{"name":"n","fault":"slow","match":{"models":["a*"],"stream":false},"from":"1m30s","queue":"10s","per_token":"50ms","probability":0.5}`
	var r chaos.Rule
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		t.Fatal(err)
	}
	want := chaos.Rule{
		Name: "n", Fault: chaos.Slow, Match: chaos.Match{Models: []string{"a*"}, Stream: new(false)},
		From: 90 * time.Second, Queue: 10 * time.Second, PerToken: 50 * time.Millisecond, Probability: 0.5,
	}
	if !reflect.DeepEqual(r, want) {
		t.Errorf("read %+v, want %+v", r, want)
	}
	again, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	var second chaos.Rule
	if err := json.Unmarshal(again, &second); err != nil || !reflect.DeepEqual(second, want) {
		t.Errorf("%s is read as %+v, %v", again, second, err)
	}
	for text, want := range map[string]string{
		`{"fault":"busy","form":"1s"}`:     `unknown field "form"`,
		`{"fault":"busy","from":"1"}`:      `from: "1" is no duration`,
		`{"fault":"busy","from":30}`:       `write a text such as "30s"`,
		`{"fault":"busy","every":"2"}`:     "every",
		`{"fault":"busy","match":{"x":1}}`: `unknown field "x"`,
	} {
		if err := json.Unmarshal([]byte(text), &r); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q in it", text, err, want)
		}
	}
}

// Every field of a Rule has one name, in JSON and YAML, and every argument is a field.
func TestRule_Names(t *testing.T) {
	names := make(map[string]bool)
	for field := range reflect.TypeFor[chaos.Rule]().Fields() {
		inJSON, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		inYAML, _, _ := strings.Cut(field.Tag.Get("yaml"), ",")
		if inJSON == "" || inJSON != inYAML {
			t.Errorf("%s is %q in JSON and %q in YAML", field.Name, inJSON, inYAML)
		}
		names[inJSON] = true
	}
	for _, f := range chaos.Faults() {
		for _, arg := range f.Args {
			if !names[arg] {
				t.Errorf("%s has the argument %s, which is no field of Rule", f.Fault, arg)
			}
		}
	}
}

func TestRealHosts_AreRefused(t *testing.T) {
	on := func(hosts ...string) []chaos.Rule {
		return []chaos.Rule{{Fault: chaos.Busy, Match: chaos.Match{Hosts: hosts}}}
	}
	real := []breakwater.Endpoint{{Name: "real", URL: "https://api.deepseek.com"}}
	byName := []chaos.Rule{{Fault: chaos.Busy, Match: chaos.Match{Endpoints: []string{"real"}}}}
	for _, test := range []struct {
		name    string
		config  chaos.Config
		refused bool
	}{
		{"a test's host", chaos.Config{Rules: on("a.localhost", "b.test:8080", "127.0.0.1:80", "[::1]:80", "::1", "*.example")}, false},
		{"a real host", chaos.Config{Rules: on("api.deepseek.com")}, true},
		{"one that is like a test's", chaos.Config{Rules: on("localhost.com")}, true},
		{"a private address", chaos.Config{Rules: on("10.0.0.7:8000")}, true},
		{"all below a real host", chaos.Config{Rules: on("*.deepseek.com")}, true},
		{"an endpoint of a real host", chaos.Config{Endpoints: real, Rules: byName}, true},
		{"allowed by name", chaos.Config{Endpoints: real, Rules: byName, Allow: []string{"api.deepseek.com"}}, false},
		{"allowed by pattern", chaos.Config{Rules: on("API.deepseek.com", "*.deepseek.com"), Allow: []string{"*.deepseek.com"}}, false},
		{"allowed with a port", chaos.Config{Rules: on("10.0.0.7:8000"), Allow: []string{"10.0.0.7:8000"}}, false},
		{"allowed at another port", chaos.Config{Rules: on("10.0.0.7:8001"), Allow: []string{"10.0.0.7:8000"}}, true},
		{"all allowed", chaos.Config{Rules: on("api.deepseek.com"), AllowRealHosts: true}, false},
	} {
		_, err := chaos.New(test.config)
		if errors.Is(err, chaos.ErrRealHost) != test.refused || !test.refused && err != nil {
			t.Errorf("%s: %v, want refused %v", test.name, err, test.refused)
		}
	}
}
