package drill

import (
	"errors"
	"strings"
	"testing"
	"time"

	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

func TestParse(t *testing.T) {
	s := parsed(t, `
title: All of it
shows: |
  Two
  lines.
duration: 1m
hosts:
  - {name: primary, persona: ark, concurrency: 3, http2: true, queue: 1s, first_token: 2s, per_token: 3ms, tokens: 40}
  - {name: b, backup: true}
load: {callers: 5, pause: 2s, streams: 25%, wires: [chat, completions, responses, messages], model: m, prompt_characters: [10, 20], repeat: 0.5, deadline: 9s, max_tokens: 7}
breakwater:
  retry: {attempts: 2}
timeline:
  - {at: 30s, for: 5s, host: b, fault: cut_stream, probability: 12.5%, streams: true}
  - {at: 3s, for: 4s, host: primary, fault: too_many_requests, retry_after: 2s}
objectives:
  {availability: 99.95%, errors: 0.1%, wrong: 1%, first_token_p99: 1s, detect: 2s, recover: 3s, attempts_per_call: 1.5, amplification: 2}
`)
	l, h, o := s.Load, s.Hosts[0], s.Objectives
	if s.Name != "test" || s.Title != "All of it" || s.Duration != time.Minute || len(s.Policies) != 1 || len(s.Hosts) != 2 {
		t.Errorf("%+v", s)
	}
	if h.Persona != "ark" || h.Concurrency != 3 || !h.HTTP2 || h.Pace != (kit.Pace{Queue: time.Second, FirstToken: 2 * time.Second, PerToken: 3 * time.Millisecond, Tokens: 40}) || !s.Hosts[1].Backup {
		t.Errorf("%+v", s.Hosts)
	}
	if l.Callers != 5 || l.Pause != 2*time.Second || l.Streams != 0.25 || len(l.Wires) != 4 || l.Wires[3] != kit.Messages || l.Model != "m" ||
		l.Prompt != (Span{10, 20}) || l.Repeat != 0.5 || l.Deadline != 9*time.Second || l.MaxTokens != 7 {
		t.Errorf("%+v", l)
	}
	if first, second := s.Timeline[0], s.Timeline[1]; first.Host != "primary" || first.String() != "too_many_requests (retry after 2s)" ||
		second.End() != 35*time.Second || second.String() != "cut_stream (12.5 % of requests, streams)" {
		t.Errorf("%v, %v", s.Timeline[0], s.Timeline[1])
	}
	if *o.Availability != 0.9995 || *o.Errors != 0.001 || *o.Wrong != 0.01 || *o.FirstToken != time.Second || *o.Detect != 2*time.Second || *o.Recover != 3*time.Second || *o.AttemptsPerCall != 1.5 || *o.Amplification != 2 {
		t.Errorf("%+v", o)
	}
}

// TestParse_Mistakes: each mistake is told with its line and column, and what was meant.
func TestParse_Mistakes(t *testing.T) {
	with := func(old, new string) string { return strings.Replace(twoHosts, old, new, 1) }
	act := func(text string) string { return twoHosts + "timeline:\n  - {" + text + "}\n" }
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", "", "the script is empty"},
		{"a comment", "# nothing\n", "the script is empty"},
		{"no YAML", "title: [a\n", "test.yaml:2:1: this is no YAML: did not find expected"},
		{"two documents", twoHosts + "---\ntitle: x\n", "it has a second document: remove the line"},
		{"a list", "- a\n", "test.yaml:1:1: want keys with values"},
		{"a misspelt key", "titel: x\n" + twoHosts, `test.yaml:1:1: there is no key "titel"; did you mean title?`},
		{"a key twice", twoHosts + "duration: 5s\n", `test.yaml:11:1: the key "duration" comes twice`},
		{"no unit", with("20s", "20"), `test.yaml:2:11: duration: "20" is no duration; write it with its unit, such as 30s, 200ms or 1m30s`},
		{"too long", with("20s", "400h"), "duration: 400h is out of range; want 1s to 4h0m0s"},
		{"null", with("20s", "~"), "test.yaml:2:11: duration: want a duration such as 30s"},
		{"a misspelt persona", with("name: primary,", "name: primary, persona: deepsek,"), `hosts[0].persona: there is no "deepsek"; did you mean deepseek?`},
		{"a name with capitals", with("name: primary", "name: Primary"), `test.yaml:4:5: hosts[0]: the name "Primary": want lower-case letters, digits and hyphens`},
		{"two of one name", with("name: backup", "name: primary"), `hosts[1]: two hosts are named "primary"`},
		{"a backup first", with("name: primary,", "name: primary, backup: true,"), "hosts[0]: the first host cannot be a backup"},
		{"no name", with("name: primary, ", ""), "hosts[0]: the host has no name"},
		{"yes for true", with("backup: true", "backup: yes"), `hosts[1].backup: want true or false, not "yes"`},
		{"no load", with("load: {calls_per_second: 20, deadline: 4s}\n", ""), "the script has no load"},
		{"two loads", with("calls_per_second: 20", "calls_per_second: 20, callers: 3"), "load: want either calls_per_second or callers"},
		{"too many", with("calls_per_second: 20", "calls_per_second: 20000"), "load.calls_per_second: 20000 is out of range; want 0.01 to 1000"},
		{"too many at once", with("20, deadline: 4s", "1000, deadline: 1h"), "calls may be under way at once; want at most 5000"},
		{"a percentage without its sign", with("availability: 99.95%", "availability: 99.95"), "objectives.availability: 99.95 is more than the whole; did you mean 99.95%?"},
		{"more than all", with("availability: 99.95%", "availability: 101%"), "out of range; want 0% to 100%"},
		{"an objective that is none", with("availability:", "availabilty:"), `test.yaml:10:14: objectives: there is no key "availabilty"; did you mean availability?`},
		{"no objectives", with("objectives: {availability: 99.95%}\n", ""), "the script has no objectives"},
		{"a wire that is none", with("deadline: 4s", "deadline: 4s, wires: [chats]"), `load.wires[0]: there is no "chats"; did you mean chat?`},
		{"a span upside down", with("deadline: 4s", "deadline: 4s, prompt_characters: [20, 10]"), "want one number, or the least and the most such as [100, 4000]"},
		{"a policy that is none", with("stall: 1s", "stal: 1s"), "test.yaml:8:41: breakwater.stream.stal: there is no such key: did you mean stall?"},
		{"an endpoint as a policy", with("retry: {patience: off}", "endpoints: []"), "breakwater.endpoints: there is no such key"},
		{"a value of a policy", with("patience: off", "patience: 3"), `breakwater.retry.patience: is "3", a number without a unit`},

		{"a fault that is none", act("at: 1s, for: 1s, host: primary, fault: refuse"), `test.yaml:12:45: timeline[0].fault: there is no "refuse"; did you mean refused?`},
		{"no fault", act("at: 1s, for: 1s, host: primary"), "test.yaml:12:5: timeline[0]: the act has no fault"},
		{"no for", act("at: 1s, host: primary, fault: refused"), "the act has no for: how long the fault lasts"},
		{"never", act("at: 1s, for: 1s, host: primary, fault: refused, probability: 0"), "with a probability of 0 nothing happens"},
		{"another host", act("at: 1s, for: 1s, host: primry, fault: refused"), `there is no host "primry"; did you mean primary?`},
		{"an argument of another fault", act("at: 1s, for: 1s, host: primary, fault: refused, after: 3"), "refused has no after: it has no arguments"},
		{"an argument of a third", act("at: 1s, for: 1s, host: primary, fault: cut_stream, delay: 3s"), "cut_stream has no delay: it has after"},
		{"a missing argument", act("at: 1s, for: 1s, host: primary, fault: latency"), "timeline[0]: "},
		{"behind the end", act("at: 19s, for: 2s, host: primary, fault: refused"), "the fault ends at 21s, behind the drill, which takes 20s"},
		{"two at once", act("at: 1s, for: 3s, host: primary, fault: refused}\n  - {at: 3s, for: 1s, host: primary, fault: busy"), "test.yaml:13:5: timeline[1]: the host primary has refused until 4s already: a host has one fault at a time"},
		{"a nest", strings.Repeat("[", 5000), "this is no YAML"},
		{"an alias of itself", "a: &a [*a]\n" + twoHosts, `there is no key "a"`},
	} {
		s, err := Parse("test.yaml", []byte(tt.text))
		if err == nil || s != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: Parse = %v, %v, want %s", tt.name, s, err, tt.want)
		}
	}
	var mistake *ScriptError
	if _, err := Parse("test.yaml", []byte("titel: x\n"+twoHosts)); !errors.As(err, &mistake) || mistake.Line != 1 || mistake.Column != 1 {
		t.Errorf("the mistake is no *ScriptError with its place: %+v", mistake)
	}
}

// TestParse_All: all mistakes of a script are told at once.
func TestParse_All(t *testing.T) {
	_, err := Parse("test.yaml", []byte("duration: x\nhosts: 3\nload: {callers: no, pause: -1s}\ntimeline: [{fault: a, at: b}]\nobjectives: {wrong: c}\n"))
	if err == nil || len(strings.Split(err.Error(), "\n")) < 8 {
		t.Errorf("Parse = %v, want eight mistakes or more", err)
	}
}

// FuzzParse looks for scripts that break the reader, or pass its checks and cannot be played.
func FuzzParse(f *testing.F) {
	for _, shipped := range AllShipped() {
		f.Add(shipped.Text)
	}
	f.Add([]byte(twoHosts))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := Parse("fuzz.yaml", text)
		if err != nil {
			return
		}
		if err := s.tooMuch(); err != nil || s.Duration <= 0 || len(s.Load.Wires) == 0 || s.Load.Prompt.Least > s.Load.Prompt.Most {
			t.Fatalf("%v: %+v", err, s)
		}
		quick := s.Quickly()
		for _, a := range append(s.Timeline, quick.Timeline...) {
			if a.For < 0 || a.At < 0 || a.End() > s.Duration {
				t.Fatalf("an act outside of the drill: %+v", a)
			}
		}
		_ = s.Summary()
	})
}
