package diagnose_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/diagnose"
)

const key = "sk-0123456789abcdef0123456789abcdef"

// found returns the findings that are no notes, as layer/code.
func found(r diagnose.Report) (all []string) {
	for _, f := range r.Findings {
		if f.Severity != diagnose.Note {
			all = append(all, fmt.Sprintf("%s/%s", f.Layer, f.Code))
		}
	}
	return all
}

// inBubble diagnoses a host of a fleet in memory, while it has a fault. In a bubble, time passes
// only while all wait, so a test may bound it exactly.
func inBubble(t *testing.T, host breakwatertest.Host, fault breakwatertest.Fault, change func(*breakwater.Endpoint), opts ...diagnose.Option) (report diagnose.Report) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		fleet, err := breakwatertest.NewPipeFleet(host)
		if err != nil {
			t.Fatal(err)
		}
		defer fleet.Close()
		base := fleet.Transport()
		defer base.CloseIdleConnections()
		server := fleet.Server(host.Name)
		if fault.Name() != "" {
			server.Break(fault)
		}
		e := breakwater.Endpoint{Name: host.Name, URL: server.URL(), APIKey: key, Host: breakwater.HostDeepSeek}
		if change != nil {
			change(&e)
		}
		start := time.Now()
		report = diagnose.Run(context.Background(), e, append([]diagnose.Option{diagnose.WithTransport(base), diagnose.WithStatusPages()}, opts...)...)
		if took := time.Since(start); took > 10*time.Second {
			t.Errorf("it took %v, want 10s at most", took)
		}
	})
	return report
}

// A diagnosed is what a fault should be diagnosed as.
type diagnosed struct {
	want  string // the first finding, as layer/code; empty: all is well
	http2 string // the same over HTTP/2; empty: the same
	also  string // another finding, which the stream has and JSON has not, or the other way round
}

// inAll are faults that every request meets, and inAnswers those that only an answer shows.
var inAll = map[string]diagnosed{
	"Refused":             {want: "connection/tcp-refused"},
	"NoSuchHost":          {want: "connection/dns-no-such-host"},
	"BadCertificate":      {want: "connection/connection-reset", http2: "connection/tls-wrong-name"}, // without TLS, breakwatertest resets
	"Reset":               {want: "connection/connection-reset"},
	"GoAway":              {want: "connection/connection-reset", http2: "protocol/http2-goaway"}, // likewise without HTTP/2
	"RefusedStream":       {want: "connection/connection-reset", http2: "protocol/http2-refused-stream"},
	"IdleClosed":          {want: "connection/reuse-broken"},
	"BlackHole":           {want: "connection/host-silent"},
	"Status":              {want: "protocol/edge-error"},
	"TooManyRequests":     {want: "application/rate-limited"},
	"TooManyRequestsMS":   {want: "application/rate-limited"},
	"ConcurrencyLimit":    {want: "application/concurrency-limited"},
	"QuotaThrottle":       {want: "application/rate-limited"},
	"ServerError":         {want: "application/host-error"},
	"Busy":                {want: "application/overloaded"},
	"HTMLError":           {want: "protocol/edge-error"},
	"EmptyError":          {want: "protocol/edge-error"},
	"Redirect":            {want: "protocol/redirected"},
	"Unauthorized":        {want: "application/key-rejected"},
	"PlainUnauthorized":   {want: "application/key-not-received"},
	"InsufficientBalance": {want: "application/no-funds"},
	"Overdue":             {want: "application/no-funds"},
	"ModelNotFound":       {want: "application/model-unknown"},
	"RetiredModel":        {want: "application/model-unknown"}, // the name that is asked for is none that was retired: see TestRun_RetiredNames
	"ContextLength":       {want: "application/context-too-long"},
	"ContentFilter":       {want: "application/content-refused"},
	"MissingReasoning":    {want: "application/reasoning-missing"},
}

var inAnswers = map[string]diagnosed{
	"NoContinue":        {},
	"SlowHeaders":       {want: "application/answer-not-started"},
	"HeaderBomb":        {want: "protocol/headers-too-large", http2: "protocol/http2-error"}, // net/http says no more
	"QueueForever":      {want: "application/answer-queued"},
	"ManyKeepAlives":    {},
	"BlankThenClose":    {want: "application/answer-blank"},
	"Silence":           {want: "application/answer-silent"},
	"ErrorInside":       {want: "application/answer-error"},
	"ErrorStringInside": {want: "application/answer-error"},
	"FlatErrorInside":   {want: "application/answer-error"},
	"HTMLInside":        {want: "protocol/web-page"},
	"EmptyInside":       {want: "application/answer-empty"},
	"CutJSON":           {want: "application/answer-cut"},
	"MalformedJSON":     {want: "application/answer-malformed"},
	"OutOfResources":    {want: "application/out-of-resources"},
	"CutStream":         {want: "application/answer-broken"},
	"GoAwayMidway":      {want: "application/answer-broken", http2: "protocol/http2-goaway"},
	"EndStream":         {want: "application/answer-cut"},
	"StallStream":       {want: "application/answer-stalled"},
	"StallKeepAlive":    {want: "application/answer-queued", also: "application/answer-stalled"}, // JSON is still queued
	"ErrorFrame":        {want: "application/answer-error"},
	"MalformedEvent":    {want: "application/answer-malformed"},
	"NoDone":            {},
	"CRLF":              {},
	"NoSpace":           {},
	"ByteByByte":        {},
	"SlowBody":          {},
	"Glued":             {},
	"SplitAnywhere":     {},
	"Gzip":              {},
	"GzipBomb":          {},
	"Huge":              {},
	"HugeEvent":         {},
}

// Each fault of the kit is diagnosed by its layer and cause, in ten seconds at most.
func TestRun_AllFaults(t *testing.T) {
	for _, fault := range breakwatertest.Faults() {
		name := fault.Name()
		row, everywhere := inAll[name]
		if !everywhere {
			var ok bool
			if row, ok = inAnswers[name]; !ok {
				t.Errorf("%s has no row", name)
			}
		}
		for _, http2 := range []bool{false, true} {
			for _, spend := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/http2=%v/spend=%v", name, http2, spend), func(t *testing.T) {
					host := breakwatertest.DeepSeek("primary")
					host.HTTP2 = http2
					host.Pace.KeepAlive = 100 * time.Millisecond
					var opts []diagnose.Option
					if spend {
						opts = append(opts, diagnose.WithSpend())
					}
					r := inBubble(t, host, fault, nil, opts...)
					check(t, r, row, http2, spend || everywhere, row.want == "connection/reuse-broken")
				})
			}
		}
	}
}

func check(t *testing.T, r diagnose.Report, row diagnosed, http2, visible, works bool) {
	t.Helper()
	want := row.want
	if http2 && row.http2 != "" {
		want = row.http2
	}
	all := found(r)
	if !visible || want == "" {
		if len(all) > 0 || r.Verdict != diagnose.Well || r.Err() != nil {
			t.Errorf("it is %s: %v, want well", r.Verdict, all)
		}
		return
	}
	also := slices.DeleteFunc(slices.Clone(all), func(s string) bool { return s == want })
	if !slices.Contains(all, want) || len(also) > 1 || len(also) == 1 && also[0] != row.also {
		t.Errorf("it has %v, want %s", all, want)
	}
	limited := strings.Contains(want, "limited")
	if verdict := map[bool]diagnose.Verdict{true: diagnose.Degraded, false: diagnose.Down}[works || limited]; r.Verdict != verdict {
		t.Errorf("it is %s, want %s", r.Verdict, verdict)
	}
	if strings.Contains(fmt.Sprintf("%+v", r), key[4:]) {
		t.Error("the report has the key in it")
	}
	for _, f := range r.Findings {
		if f.Seen == "" || f.Means == "" || f.Next == "" || strings.ContainsAny(f.Seen+f.Next, "{}") {
			t.Errorf("%s has no whole text: %+v", f.Code, f)
		}
	}
	if r.Err() == nil {
		t.Error("Err is nil")
	}
}

// A host that is well is found to be, on each wire.
func TestRun_Well(t *testing.T) {
	for _, wire := range []diagnose.Wire{"", diagnose.Chat, diagnose.FIM, diagnose.Responses, diagnose.Messages} {
		for _, language := range []diagnose.Language{diagnose.English, diagnose.Chinese} {
			opts := []diagnose.Option{diagnose.WithSpend(), diagnose.WithLanguage(language)}
			if wire != "" {
				opts = append(opts, diagnose.WithWire(wire))
			}
			r := inBubble(t, breakwatertest.DeepSeek("primary"), breakwatertest.Fault{}, nil, opts...)
			if r.Verdict != diagnose.Well || len(r.Findings) > 0 || len(r.Answers) != 2 || r.Models.Listed != 2 || !r.Balance.Available {
				t.Errorf("%s: %+v", wire, r)
			}
			for _, a := range r.Answers {
				if a.Class != breakwater.ClassOK || a.Status != 200 || a.Tokens == 0 {
					t.Errorf("%s: %+v", wire, a)
				}
			}
		}
	}
}
