package breakwater_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// An http.Client for DeepSeek, with another host that serves the same model as a
// backup.
func Example() {
	client, err := breakwater.NewClient(
		breakwater.WithEndpoints(breakwater.DeepSeek(os.Getenv("DEEPSEEK_API_KEY"))),
		breakwater.WithBackup(breakwater.SiliconFlow(os.Getenv("SILICONFLOW_API_KEY"))),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	// Give the client to an SDK: option.WithHTTPClient(client), config.HTTPClient = client …
	_ = client
}

// Without endpoints, a Transport protects the calls to any host, with the key
// that the client sends.
func ExampleNew() {
	transport, err := breakwater.New()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer transport.Close()
	client := &http.Client{Transport: transport}

	fleet := start(kit.DeepSeek("host"))
	defer fleet.Close()
	fleet.Server("host").BreakNext(1, kit.ErrorInside())

	resp, err := client.Do(question(context.Background(), fleet, "sk-mine"))
	fmt.Println(right(resp, err))
	for _, a := range breakwater.TrailOf(resp) {
		fmt.Println(a.N, a.Class, a.Verdict)
	}
	// Output:
	// the right answer
	// 1 unavailable again
	// 2 ok accept
}

// A backup has its own base path, key and name for the model.
func ExampleWithBackup() {
	fleet := start(kit.DeepSeek("primary"), kit.Host{Name: "backup", BasePath: "/api/v3", Models: []string{"ep-flash"}})
	defer fleet.Close()
	fleet.Server("primary").Break(kit.Refused())

	client, err := breakwater.NewClient(
		breakwater.WithEndpoints(breakwater.Endpoint{Name: "primary", URL: fleet.Server("primary").URL(), APIKey: "sk-primary"}),
		breakwater.WithBackup(breakwater.Endpoint{
			Name: "backup", URL: fleet.Server("backup").URL(), APIKey: "sk-backup",
			Models: map[string]string{"deepseek-flash": "ep-flash"},
		}),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()
	resp, err := client.Do(question(context.Background(), fleet, ""))
	fmt.Println(right(resp, err), "from", resp.Header.Get("Breakwater-Endpoint"))
	// Output: the right answer from backup
}

// The second answer comes from the cache. Its host is down by then.
func ExampleWithCache() {
	fleet := start(kit.DeepSeek("host"))
	defer fleet.Close()
	client, err := breakwater.NewClient(breakwater.WithCache(breakwater.CachePolicy{TTL: time.Minute}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()
	for range 2 {
		resp, err := client.Do(question(context.Background(), fleet, "sk-mine"))
		status, _, _ := strings.Cut(resp.Header.Get("Cache-Status"), "; ttl")
		fmt.Println(right(resp, err), "|", status)
		fleet.Server("host").Break(kit.Refused())
	}
	// Output:
	// the right answer | breakwater; fwd=uri-miss
	// the right answer | breakwater; hit
}

// If no host sends a response, breakwater makes one that every SDK understands.
// ErrorOf returns its cause.
func ExampleErrorOf() {
	fleet := start(kit.DeepSeek("host"))
	defer fleet.Close()
	fleet.Server("host").Break(kit.Refused())
	client, err := breakwater.NewClient(breakwater.WithRetry(breakwater.RetryPolicy{Attempts: 1}))
	if err != nil {
		fmt.Println(err)
		return
	}
	resp, err := client.Do(question(context.Background(), fleet, "sk-mine"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	fmt.Println(resp.StatusCode, resp.Header.Get("Breakwater-Error"))
	var failure *breakwater.Error
	if errors.As(breakwater.ErrorOf(resp), &failure) {
		fmt.Println(len(failure.Attempts), failure.Attempts[0].Class)
	}
	// Output:
	// 503 unreachable
	// 1 unreachable
}

// With an SDK one does not see the response. A Trail records the attempts.
func ExampleWithCall() {
	fleet := start(kit.DeepSeek("host"))
	defer fleet.Close()
	client, err := breakwater.NewClient()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()
	var trail breakwater.Trail
	ctx := breakwater.WithCall(context.Background(), breakwater.Call{Trail: &trail, NoCache: true})
	fmt.Println(right(client.Do(question(ctx, fleet, "sk-mine"))))
	for _, a := range trail.Attempts() {
		fmt.Println(a.N, a.Model, a.Class, a.Usage.TotalTokens > 0)
	}
	// Output:
	// the right answer
	// 1 deepseek-flash ok true
}

// Middleware can wrap each call or each attempt.
func ExampleWithMiddleware() {
	named := func(name string) breakwater.Middleware {
		return func(next http.RoundTripper) http.RoundTripper {
			return breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
				fmt.Println(name)
				return next.RoundTrip(req)
			})
		}
	}
	fleet := start(kit.DeepSeek("host"))
	defer fleet.Close()
	fleet.Server("host").BreakNext(1, kit.ServerError())
	client, err := breakwater.NewClient(
		breakwater.WithMiddleware(named("call")),
		breakwater.WithAttemptMiddleware(named("attempt")),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()
	fmt.Println(right(client.Do(question(context.Background(), fleet, "sk-mine"))))
	// Output:
	// call
	// attempt
	// attempt
	// the right answer
}

// A stream breaks after its first payload. A second attempt continues it, and the
// caller reads one answer.
func ExampleWithStream() {
	fleet := start(kit.DeepSeek("host"))
	defer fleet.Close()
	fleet.Server("host").BreakNext(1, kit.CutStream(8))

	client, err := breakwater.NewClient(
		breakwater.WithEndpoints(breakwater.Endpoint{Name: "host", URL: fleet.Server("host").URL(), APIKey: "sk-1", Host: breakwater.HostDeepSeek}),
		breakwater.WithStream(breakwater.StreamPolicy{FirstToken: 10 * time.Second, Rescue: breakwater.RescueRestart}),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()
	req, err := kit.ChatRequest(context.Background(), fleet.Server("host").URL(), "", "deepseek-flash", prompt, true)
	if err != nil {
		fmt.Println(err)
		return
	}
	resp, err := client.Do(req)
	fmt.Println(right(resp, err))
	for _, a := range breakwater.TrailOf(resp) {
		fmt.Println(a.N, a.Class)
	}
	// Output:
	// the right answer
	// 1 truncated
	// 2 ok
}

// With WithErrors, a call that no endpoint answers returns a Go error that lists
// every attempt.
func ExampleWithErrors() {
	fleet := start(kit.DeepSeek("host"))
	defer fleet.Close()
	fleet.Server("host").Break(kit.Refused())
	transport, err := breakwater.New(breakwater.WithErrors(), breakwater.WithRetry(breakwater.RetryPolicy{Attempts: 1}),
		breakwater.WithEndpoints(breakwater.Endpoint{Name: "host", URL: fleet.Server("host").URL(), APIKey: "sk-1"}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer transport.Close()
	_, err = transport.RoundTrip(question(context.Background(), fleet, ""))
	fmt.Println(err)
	// Output: breakwater: no endpoint answered: host: unreachable (dial: connection refused)
}

// A Status is useful for a health page.
func ExampleTransport_Status() {
	fleet := start(kit.DeepSeek("host"))
	defer fleet.Close()
	fleet.Server("host").Break(kit.ServerError())
	transport, err := breakwater.New(breakwater.WithBreaker(breakwater.BreakerPolicy{Consecutive: 1}), breakwater.WithRetry(breakwater.RetryPolicy{Attempts: 1}),
		breakwater.WithEndpoints(breakwater.Endpoint{Name: "host", URL: fleet.Server("host").URL(), APIKey: "sk-1"}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer transport.Close()
	client := &http.Client{Transport: transport}
	resp, err := client.Do(question(context.Background(), fleet, ""))
	if err != nil {
		fmt.Println(err)
		return
	}
	resp.Body.Close()
	status := transport.Status()
	fmt.Println(status.Calls, "call,", status.Failed, "failed")
	for _, e := range status.Endpoints {
		for _, c := range e.Circuits {
			fmt.Println(e.Name, c.Model, c.State)
		}
	}
	// Output:
	// 1 call, 1 failed
	// host deepseek-flash open
}

// Log writes events to a slog.Logger: here only warnings and errors, without times.
func ExampleLog() {
	fleet := start(kit.DeepSeek("host"))
	defer fleet.Close()
	fleet.Server("host").BreakNext(1, kit.ErrorInside())
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelWarn,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "elapsed" {
				return slog.Attr{}
			}
			return a
		},
	}))
	client, err := breakwater.NewClient(breakwater.WithObserver(breakwater.Log(logger)),
		breakwater.WithEndpoints(breakwater.Endpoint{Name: "host", URL: fleet.Server("host").URL(), APIKey: "sk-1"}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()
	fmt.Println(right(client.Do(question(context.Background(), fleet, ""))))
	// Output:
	// level=WARN msg="breakwater: attempt" endpoint=host model=deepseek-flash attempt=1 status=200 class=unavailable verdict=again err="bad response"
	// the right answer
}

// New checks all options. Each error names its option, and none shows a key.
func ExampleNew_nonsense() {
	_, err := breakwater.New(
		breakwater.WithEndpoints(breakwater.Endpoint{URL: "http://api.example.com", APIKey: "sk-secret"}),
		breakwater.WithRetry(breakwater.RetryPolicy{Attempts: -3}),
	)
	fmt.Println(err)
	// Output:
	// breakwater: WithEndpoints: endpoint 1: a key would go over plain http to "api.example.com"
	// breakwater: WithRetry: Attempts is -3: want zero for the default, a positive value, or Off
}

// start starts fake hosts on loopback.
func start(hosts ...kit.Host) *kit.Fleet {
	fleet, err := kit.NewFleet(hosts...)
	if err != nil {
		panic(err)
	}
	return fleet
}

const prompt = "What does a breakwater do?"

// question returns a request to the first host of the fleet.
func question(ctx context.Context, fleet *kit.Fleet, key string) *http.Request {
	req, err := kit.ChatRequest(ctx, fleet.Servers()[0].URL(), key, "deepseek-flash", prompt, false)
	if err != nil {
		panic(err)
	}
	return req
}

// right returns "the right answer" if resp is that, or what is wrong.
func right(resp *http.Response, err error) string {
	if err != nil {
		return err.Error()
	}
	reply, err := kit.ReadAnswer(resp)
	if err != nil {
		return strings.TrimSpace(err.Error())
	}
	if reply.Content != kit.Answer(prompt) {
		return "another answer"
	}
	return "the right answer"
}
