package chaos_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log"
	"net/http"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/chaos"
)

// The primary refuses every call. The backup, which the rule does not match, answers them.
func Example() {
	fleet, err := breakwatertest.NewFleet(breakwatertest.DeepSeek("primary"), breakwatertest.SiliconFlow("backup"))
	if err != nil {
		log.Fatal(err)
	}
	defer fleet.Close()
	primary := breakwater.Endpoint{Name: "primary", URL: fleet.Server("primary").URL(), APIKey: "sk-1", Host: breakwater.HostDeepSeek}
	backup := breakwater.Endpoint{Name: "backup", URL: fleet.Server("backup").URL(), APIKey: "sk-2", Host: breakwater.HostSiliconFlow}

	injector, err := chaos.New(chaos.Config{
		Seed:      1,
		Endpoints: []breakwater.Endpoint{primary, backup},
		Rules: []chaos.Rule{
			{Fault: chaos.Busy, Match: chaos.Match{Endpoints: []string{"primary"}}},
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	client, err := breakwater.NewClient(
		breakwater.WithEndpoints(primary),
		breakwater.WithBackup(backup),
		breakwater.WithAttemptMiddleware(injector.Middleware),
	)
	if err != nil {
		log.Fatal(err)
	}

	req, err := breakwatertest.ChatRequest(context.Background(), primary.URL, "", "deepseek-flash", "Is the harbour open?", false)
	if err != nil {
		log.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		log.Fatal(err)
	}
	answer, err := breakwatertest.ReadAnswer(resp)
	fmt.Println(answer.Fingerprint, err)
	for _, rule := range injector.Stats().Rules {
		fmt.Println(rule.Rule, rule.Hits > 0)
	}
	// Output:
	// fp_backup <nil>
	// busy true
}

// Rules can be changed while requests are made.
func ExampleInjector_Set() {
	fleet, err := breakwatertest.NewFleet(breakwatertest.DeepSeek("host"))
	if err != nil {
		log.Fatal(err)
	}
	defer fleet.Close()
	injector, err := chaos.New(chaos.Config{OnHit: func(h chaos.Hit) { fmt.Println("hit:", h.Rule, h.Operation) }})
	if err != nil {
		log.Fatal(err)
	}
	client := &http.Client{Transport: injector.Middleware(http.DefaultTransport)}
	ask := func() {
		req, err := breakwatertest.ChatRequest(context.Background(), fleet.Server("host").URL(), "sk-1", "deepseek-flash", "Is the harbour open?", true)
		if err != nil {
			log.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			log.Fatal(err)
		}
		answer, err := breakwatertest.ReadAnswer(resp)
		fmt.Println(answer.Done, err)
	}

	ask()
	if err := injector.Set(chaos.Rule{Name: "the wire is cut", Fault: chaos.CutStream, After: 3, Times: 1}); err != nil {
		log.Fatal(err)
	}
	ask()
	ask()
	// Output:
	// true <nil>
	// hit: the wire is cut chat/completions
	// false breakwatertest: reading the stream: unexpected EOF
	// true <nil>
}

// Rules can come from a file.
func ExampleRule() {
	var rules []chaos.Rule
	err := json.Unmarshal([]byte(`[
		{"fault": "latency", "delay": "3s", "probability": 0.2},
		{"fault": "too_many_requests", "retry_after": "30s", "from": "1m", "until": "2m"},
		{"fault": "stall_stream", "after": 5, "match": {"models": ["deepseek-v4-*"]}, "on": "10s", "off": "50s"}
	]`), &rules)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(rules), rules[1].Until-rules[1].From == time.Minute)

	_, err = chaos.New(chaos.Config{Rules: []chaos.Rule{{Fault: chaos.Busy, Delay: time.Second, Probability: 20}}})
	fmt.Println(err)
	// Output:
	// 3 true
	// chaos: rule 1 (busy): busy has no argument delay: it has retry_after; probability is 20: it must be between 0 and 1; for 20 percent write 0.2
}

// Real hosts are not broken unless they are allowed.
func ExampleConfig_allow() {
	rule := chaos.Rule{Fault: chaos.Busy, Match: chaos.Match{Hosts: []string{"api.deepseek.com"}}}
	_, err := chaos.New(chaos.Config{Rules: []chaos.Rule{rule}})
	fmt.Println(err)

	_, err = chaos.New(chaos.Config{Rules: []chaos.Rule{rule}, Allow: []string{"api.deepseek.com"}})
	fmt.Println(err)
	// Output:
	// chaos: rule 1 (busy): a real host, which Config.Allow does not allow: api.deepseek.com
	// <nil>
}
