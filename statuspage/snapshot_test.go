package statuspage

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/net/html"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/slo"
)

// played returns the page of two endpoints after an hour with everything that it can show. It
// needs virtual time, so that all times are the same each time.
func played(t *testing.T) *Page {
	page := New()
	tracker, err := slo.New(slo.Objectives{})
	if err != nil {
		t.Fatal(err)
	}
	tr, err := breakwater.New(breakwater.WithEndpoints(breakwater.DeepSeek("sk-secret")), breakwater.WithBackup(breakwater.SiliconFlow("sk-secret")))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { tr.Close() })
	chat := page.Part("chat")
	chat.Watch(tr, tracker)
	tell := func(e breakwater.Event) {
		e.Time = time.Now()
		chat.Observe(context.Background(), e)
		tracker.Observe(context.Background(), e)
	}
	for range 50 {
		tell(breakwater.Event{Kind: breakwater.KindAttempt, Call: "a", Endpoint: "deepseek", Model: "deepseek-chat", Attempt: 1, Class: breakwater.ClassOK})
		tell(breakwater.Event{Kind: breakwater.KindEnd, Call: "a", Endpoint: "deepseek", Model: "deepseek-chat", Outcome: breakwater.OutcomeOK, Class: breakwater.ClassOK, FirstToken: 500 * time.Millisecond, Elapsed: 2 * time.Second})
		time.Sleep(time.Minute)
	}
	tell(breakwater.Event{Kind: breakwater.KindEnd, Call: "b", Model: "deepseek-chat", Outcome: breakwater.OutcomeHit, Class: breakwater.ClassOK})
	tell(breakwater.Event{Kind: breakwater.KindEnd, Call: "c", Endpoint: "deepseek", Model: "deepseek-chat", Outcome: "refused", Class: breakwater.ClassRefused, Fault: breakwater.FaultCaller})
	tell(breakwater.Event{Kind: breakwater.KindAttempt, Call: "d", Endpoint: "deepseek", Model: "deepseek-chat", Attempt: 1, Class: breakwater.ClassUnavailable, Status: 503, Fault: breakwater.FaultHost, Verdict: breakwater.VerdictElsewhere, Elapsed: 100 * time.Millisecond})
	tell(breakwater.Event{Kind: breakwater.KindPassedOver, Call: "d", Endpoint: "deepseek", Model: "deepseek-chat", Reason: breakwater.ReasonCircuit})
	tell(breakwater.Event{Kind: breakwater.KindAttempt, Call: "d", Endpoint: "siliconflow", Model: "deepseek-ai/DeepSeek-V3", Attempt: 2, Class: breakwater.ClassOK, Verdict: breakwater.VerdictAccept, FirstToken: 700 * time.Millisecond, Elapsed: time.Second})
	tell(breakwater.Event{Kind: breakwater.KindEnd, Call: "d", Endpoint: "siliconflow", Model: "deepseek-ai/DeepSeek-V3", Outcome: breakwater.OutcomeFailover, Class: breakwater.ClassOK, Status: 200, FirstToken: 800 * time.Millisecond, Elapsed: 1100 * time.Millisecond})
	tell(breakwater.Event{Kind: breakwater.KindAttempt, Call: "e", Endpoint: "deepseek", Model: "deepseek-chat", Attempt: 1, Class: breakwater.ClassKeyRejected, Status: 401, Fault: breakwater.FaultLocal, Verdict: breakwater.VerdictStop, Elapsed: 100 * time.Millisecond})
	tell(breakwater.Event{Kind: breakwater.KindKey, Call: "e", Endpoint: "deepseek", Model: "deepseek-chat", Class: breakwater.ClassKeyRejected, Status: 401, Wait: 10 * time.Minute})
	tell(breakwater.Event{Kind: breakwater.KindEnd, Call: "e", Endpoint: "deepseek", Model: "deepseek-chat", Outcome: "key_rejected", Class: breakwater.ClassKeyRejected, Status: 401, Fault: breakwater.FaultLocal, Elapsed: 200 * time.Millisecond})
	tell(breakwater.Event{Kind: breakwater.KindEnd, Call: "f", Endpoint: "siliconflow", Model: "deepseek-chat", Outcome: "canceled", Class: breakwater.ClassCanceled, Fault: breakwater.FaultCaller})
	time.Sleep(90 * time.Second)
	return page
}

// fill adds what the Transport of played does not have.
func fill(s *Snapshot) {
	s.Build = Build{Module: "example.com/service", Version: "v1.2.3", Revision: "0123abc", Modified: true, Breakwater: "v0.1.0", Go: "go1.26.0"}
	s.Totals = Totals{Calls: 57, UnderWay: 1, Failed: 1, Attempts: 54, Passed: 2, Outcomes: map[breakwater.Outcome]int64{breakwater.OutcomeOK: 50}}
	s.Cache = Cache{Entries: 1, Bytes: 2048, Hits: 1, Misses: 54, Stores: 1}
	e := &s.Endpoints[1]
	e.Circuits = []Circuit{{Model: "deepseek-ai/DeepSeek-V3", State: "open", Since: s.Time.Add(-time.Minute), Until: s.Time.Add(time.Minute)}, {Model: "GET", State: "closed"}}
	e.Pauses = []Pause{{Model: "deepseek-ai/DeepSeek-V3", Until: s.Time.Add(time.Hour)}, {Until: s.Time.Add(time.Minute)}}
	e.Limits = []Limit{{"deepseek-ai/DeepSeek-V3", 2, 3}}
	e.Health = &Health{
		Checked: s.Time.Add(-time.Minute), Reachable: breakwater.FindingYes, Credential: breakwater.FindingNo, Funds: breakwater.FindingNo, Missing: []string{"deepseek-v4-pro"},
		Balance: &Balance{12.5, "CNY", s.Time.Add(-time.Minute), 5400},
	}
	s.Failures[0].Left = 4
	r := &s.SLO[0] // package slo tests its own JSON; its quotients may differ by architecture
	r.Windows, r.Endpoints, r.Budget = r.Windows[:1], r.Endpoints[:0], slo.Budget{Spent: 0.25, Left: 16 * time.Minute}
	r.Windows[0].BurnRate = 333
}

// The JSON is as documented, and stays so. UPDATE=1 writes it anew.
func TestSnapshot_JSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := played(t).Snapshot()
		fill(&s)
		if n := len(s.Hour.Minutes); n != minutes {
			t.Fatalf("%d minutes", n)
		}
		s.Hour.Minutes = slices.Concat(s.Hour.Minutes[:1], s.Hour.Minutes[minutes-3:]) // the others say the same
		got, err := json.MarshalIndent(s, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, '\n')
		const file = "testdata/snapshot.json"
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(file, got, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("the JSON is not that of %s:\n%s", file, got)
		}
		times := regexp.MustCompile(`"(time|started|start|since|until|last_answer)": (.*?),?\n`).FindAllSubmatch(got, -1)
		for _, found := range times {
			at, err := time.Parse(`"`+time.RFC3339+`"`, string(found[2]))
			if err != nil || at.IsZero() || at.Location() != time.UTC {
				t.Errorf("%s is %s: %v", found[1], found[2], err)
			}
		}
		if len(times) < 20 {
			t.Errorf("only %d times were found", len(times))
		}
		if bytes.Contains(got, []byte("null")) || bytes.Contains(got, []byte("sk-secret")) {
			t.Error("there is a null or a key")
		}
	})
}

// A page that has nothing to show has no time and no null either.
func TestSnapshot_Empty(t *testing.T) {
	body := get(New(), "application/json", "").Body.String()
	if strings.Contains(body, "null") || strings.Contains(body, "0001-01-01") {
		t.Error(body)
	}
}

// Every field is in the documentation.
func TestSnapshot_IsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/status-page.md")
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[reflect.Type]bool)
	var look func(of reflect.Type)
	look = func(of reflect.Type) {
		for of.Kind() == reflect.Slice || of.Kind() == reflect.Pointer {
			of = of.Elem()
		}
		if of.Kind() != reflect.Struct || of.PkgPath() != reflect.TypeFor[Snapshot]().PkgPath() || seen[of] {
			return
		}
		seen[of] = true
		for i := range of.NumField() {
			field := of.Field(i)
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if name == "" || name != strings.ToLower(name) || !strings.Contains(string(text), "`"+name+"`") {
				t.Errorf("%s.%s: the documentation does not have %q", of.Name(), field.Name, name)
			}
			look(field.Type)
		}
	}
	look(reflect.TypeFor[Snapshot]())
}

// The HTML is well formed for people who use a screen reader or a keyboard, and for a policy that
// allows nothing inline.
func TestHTML(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := view{Snapshot: played(t).Snapshot(), Nonce: "nonce", Lang: "en"}
		fill(&v.Snapshot)
		for _, v.Lang = range []string{"en", "zh"} {
			var body bytes.Buffer
			if err := document.Execute(&body, v); err != nil {
				t.Fatal(err)
			}
			for _, wrong := range []string{"0001", "sk-secret", "ZgotmplZ", "%!", "<no value>"} {
				if strings.Contains(body.String(), wrong) {
					t.Errorf("%s: it has %q", v.Lang, wrong)
				}
			}
			root, err := html.Parse(&body)
			if err != nil {
				t.Fatal(err)
			}
			count := make(map[string]int)
			ids := make(map[string]bool)
			for n := range root.Descendants() {
				if n.Type == html.ElementNode {
					count[n.Data]++
					checkElement(t, n, ids)
				}
			}
			for name, want := range map[string]int{"h1": 1, "main": 1, "svg": 2, "details": 2, "table": 6, "script": 1, "style": 1} {
				if count[name] != want {
					t.Errorf("%s: %d × %s, want %d", v.Lang, count[name], name, want)
				}
			}
		}
	})
}

func checkElement(t *testing.T, n *html.Node, ids map[string]bool) {
	has := make(map[string]string)
	for _, a := range n.Attr {
		has[a.Key] = a.Val
		if strings.HasPrefix(a.Key, "on") || a.Key == "style" || a.Key == "src" || a.Key == "href" && a.Val != "data:," {
			t.Errorf("<%s> has %s", n.Data, a.Key)
		}
	}
	if id := has["id"]; id != "" {
		if ids[id] {
			t.Errorf("two elements are %q", id)
		}
		ids[id] = true
	}
	wrong := false
	switch n.Data {
	case "html":
		wrong = has["lang"] == ""
	case "svg":
		wrong = has["role"] != "img" || has["aria-label"] == ""
	case "th":
		wrong = has["scope"] == ""
	case "details":
		wrong = has["id"] == "" || n.FirstChild == nil || n.FirstChild.Data != "summary"
	case "time":
		_, err := time.Parse(time.RFC3339, has["datetime"])
		wrong = err != nil
	case "script", "style":
		wrong = has["nonce"] != "nonce"
	case "table":
		wrong = n.FirstChild == nil || strings.TrimSpace(n.FirstChild.Data) != "" && n.FirstChild.Data != "thead"
	}
	if wrong {
		t.Errorf("<%s> lacks something: %v", n.Data, n.Attr)
	}
}

// The first line names who serves and who does not.
func TestHeadline(t *testing.T) {
	well, down, paused, unwell := Endpoint{Name: "a", State: StateOK}, Endpoint{Name: "b", State: StateDown}, Endpoint{Name: "c", State: StatePaused}, Endpoint{Name: "d", State: StateDegraded}
	var many []Endpoint
	for _, name := range []string{"e", "f", "g", "h", "i"} {
		many = append(many, Endpoint{Name: name, State: StateDown})
	}
	served := func(names ...string) (r Recent) {
		for _, name := range names {
			r.Answered++
			r.ServedBy = append(r.ServedBy, Share{"", name, 1})
		}
		return r
	}
	for _, test := range []struct {
		state     State
		recent    Recent
		endpoints []Endpoint
		en, zh    string
	}{
		{StateIdle, Recent{}, []Endpoint{well}, "No calls in the last 5 minutes", "最近 5 分钟没有调用"},
		{StateOK, served("a"), []Endpoint{well}, "Users are served by a", "正在提供服务：a"},
		{StateOK, served("a", "cache"), []Endpoint{well}, "Users are served by a, cache", "正在提供服务：a、缓存"},
		{StateDegraded, served("b", "a"), []Endpoint{well, down}, "Users are served by a. Down: b", "正在提供服务：a。中断：b"},
		{StateDegraded, served("a", "d"), []Endpoint{well, down, paused, unwell}, "Users are served by a, d. Down: b. Paused: c. Not well: d", "正在提供服务：a、d。中断：b。暂停：c。异常：d"},
		{StateDegraded, served("a"), []Endpoint{well}, "Users are served by a. Some calls failed", "正在提供服务：a。部分调用失败"},
		{StateDegraded, Recent{}, []Endpoint{down}, "No calls in the last 5 minutes. Down: b", "最近 5 分钟没有调用。中断：b"},
		{StateDown, served("b"), []Endpoint{down}, "Users are not served. Down: b", "服务中断。中断：b"},
		{StateDown, Recent{Failed: 1}, many, "Users are not served. Down: e, f, g, + 2", "服务中断。中断：e、f、g、+ 2"},
	} {
		s := Snapshot{State: test.state, Recent: test.recent, Endpoints: test.endpoints}
		for lang, want := range map[string]string{"en": test.en, "zh": test.zh} {
			v := view{Snapshot: s, Lang: lang}
			var line []string
			for _, p := range v.Headline() {
				line = append(line, p.Text+strings.Join(p.Names, v.T(", ")))
			}
			if got := strings.Join(line, v.T(". ")); got != want {
				t.Errorf("%s: %s, want %s", lang, got, want)
			}
		}
	}
}

func TestLength(t *testing.T) {
	now := time.Date(2026, 11, 28, 7, 0, 0, 0, time.UTC)
	v, zh := view{Snapshot: Snapshot{Time: now}, Lang: "en"}, view{Snapshot: Snapshot{Time: now}, Lang: "zh"}
	for d, want := range map[time.Duration][2]string{
		0: {"0 s ago", "0 秒前"}, 59 * time.Second: {"59 s ago", "59 秒前"}, 3 * time.Minute: {"3 min ago", "3 分钟前"}, time.Hour: {"1 h ago", "1 小时前"},
		119 * time.Minute: {"119 min ago", "119 分钟前"}, 47 * time.Hour: {"47 h ago", "47 小时前"}, 72 * time.Hour: {"3 d ago", "3 天前"}, -time.Minute: {"in 1 min", "1 分钟后"},
	} {
		if got := [2]string{v.Age(now.Add(-d)), zh.Age(now.Add(-d))}; got != want {
			t.Errorf("%v: %v", d, got)
		}
	}
	if got := v.Clock(now.Add(-8 * time.Hour)); got != "2026-11-27 23:00 UTC" {
		t.Error(got)
	}
	if got := v.Spent(slo.Budget{Spent: 1.5, Left: -time.Minute}) + "; " + zh.Spent(slo.Budget{Spent: 0.25, Left: 16 * time.Minute}); got != "150 % spent: the objective is missed; 已用 25 %，还可中断 16 分钟" {
		t.Error(got)
	}
	if got := size(512) + " " + size(2048) + " " + size(5<<30); got != "512 B 2.0 KiB 5.0 GiB" {
		t.Error(got)
	}
}
