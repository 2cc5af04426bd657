package breakwater_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"expvar"
	"fmt"
	"hash/crc32"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// The first call. The endpoint's URL leads to a fake host here. Leave that line out to
// call DeepSeek.
func Example() {
	fleet := start(kit.DeepSeek("host"))
	defer fleet.Close()
	endpoint := breakwater.DeepSeek("sk-1") // os.Getenv("DEEPSEEK_API_KEY")
	endpoint.URL = fleet.Server("host").URL()

	client, err := breakwater.NewClient(breakwater.WithEndpoints(endpoint))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()

	// The endpoint's key is added to the request. An SDK would get the client and the
	// base URL, such as https://api.deepseek.com.
	body := `{"model":"deepseek-flash","messages":[{"role":"user","content":"What does a breakwater do?"}]}`
	resp, err := client.Post(endpoint.URL+"/chat/completions", "application/json", strings.NewReader(body))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer resp.Body.Close()
	var answer struct {
		Choices []struct{ Message struct{ Content string } }
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(resp.StatusCode, "from", resp.Header.Get("Breakwater-Endpoint"))
	fmt.Println(answer.Choices[0].Message.Content == kit.Answer("What does a breakwater do?"))
	// Output:
	// 200 from deepseek
	// true
}

// People wait two seconds at most. The first host is silent. It gets half of that time,
// and the backup the rest.
func Example_deadline() {
	fleet := start(kit.DeepSeek("primary"), kit.SiliconFlow("backup"))
	defer fleet.Close()
	fleet.Server("primary").Break(kit.Silence())
	client, err := breakwater.NewClient(
		breakwater.WithEndpoints(breakwater.Endpoint{Name: "primary", URL: fleet.Server("primary").URL(), APIKey: "sk-1"}),
		breakwater.WithBackup(breakwater.Endpoint{Name: "backup", URL: fleet.Server("backup").URL(), APIKey: "sk-2"}),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()

	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel() // after the body was read
	resp, err := client.Do(question(ctx, fleet, ""))
	fmt.Println(right(resp, err))
	for _, a := range breakwater.TrailOf(resp) {
		fmt.Println(a.Endpoint, a.Class)
	}
	// Output:
	// the right answer
	// primary no_first_token
	// backup ok
}

// A batch has no deadline, and waits for as long as the host asks it to.
func Example_batch() {
	fleet := start(kit.DeepSeek("host"))
	defer fleet.Close()
	fleet.Server("host").BreakNext(2, kit.TooManyRequestsMS("20"))
	client, err := breakwater.NewClient(
		breakwater.WithEndpoints(breakwater.Endpoint{Name: "host", URL: fleet.Server("host").URL(), APIKey: "sk-1"}),
		breakwater.WithRetry(breakwater.RetryPolicy{Attempts: 10, MaxRetryAfter: time.Hour}),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()

	for range 3 {
		resp, err := client.Do(question(context.Background(), fleet, ""))
		fmt.Println(right(resp, err), "after", len(breakwater.TrailOf(resp)), "attempts")
	}
	// Output:
	// the right answer after 3 attempts
	// the right answer after 1 attempts
	// the right answer after 1 attempts
}

// To test a program, give its client fake hosts and break them. Package breakwatertest
// can do so on loopback, as here, or in memory and in virtual time.
func Example_testing() {
	fleet := start(kit.DeepSeek("primary"), kit.SiliconFlow("backup"))
	defer fleet.Close()
	primary, backup := fleet.Server("primary"), fleet.Server("backup")
	client, err := breakwater.NewClient(
		breakwater.WithEndpoints(breakwater.Endpoint{Name: "primary", URL: primary.URL(), APIKey: "sk-1"}),
		breakwater.WithBackup(breakwater.Endpoint{Name: "backup", URL: backup.URL(), APIKey: "sk-2"}),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()

	for _, fault := range []kit.Fault{kit.Reset(), kit.Busy(), kit.HTMLInside(), kit.CutJSON()} {
		primary.Break(fault)
		resp, err := client.Do(question(context.Background(), fleet, ""))
		fmt.Printf("%v: %s from %s\n", fault, right(resp, err), resp.Header.Get("Breakwater-Endpoint"))
	}
	// Output:
	// Reset: the right answer from backup
	// Busy: the right answer from backup
	// HTMLInside: the right answer from backup
	// CutJSON: the right answer from backup
}

// Without endpoints, a Transport protects the calls to any host. Each call has a key of
// its own, such as the key of a tenant.
func ExampleNew() {
	fleet := start(kit.DeepSeek("host"))
	defer fleet.Close()
	host := fleet.Server("host")
	host.BreakNext(1, kit.ErrorInside())

	transport, err := breakwater.New()
	if err != nil {
		fmt.Println(err)
		return
	}
	defer transport.Close()
	client := &http.Client{Transport: transport} // without a Timeout
	for _, key := range []string{"sk-mine", "sk-yours"} {
		fmt.Println(right(client.Do(question(context.Background(), fleet, key))))
	}
	for _, req := range host.Requests() {
		fmt.Println("the host got", req.Key)
	}
	// Output:
	// the right answer
	// the right answer
	// the host got sk-mine
	// the host got sk-mine
	// the host got sk-yours
}

// The client's Transport has the methods Status and Close.
func ExampleNewClient() {
	fleet := start(kit.DeepSeek("host"))
	defer fleet.Close()
	client, err := breakwater.NewClient()
	if err != nil {
		fmt.Println(err)
		return
	}
	transport := client.Transport.(*breakwater.Transport)
	defer transport.Close()

	fmt.Println(right(client.Do(question(context.Background(), fleet, "sk-mine"))))
	fmt.Println(transport.Status().Calls, "call")
	// Output:
	// the right answer
	// 1 call
}

// An OpenAI-compatible host that has no function of its own. Limits has the endpoint's
// model names, to which Models leads.
func ExampleEndpoint() {
	endpoint := breakwater.Endpoint{
		Name:   "gateway",
		URL:    "https://llm.example.com/v1",
		APIKey: "sk-secret",
		Models: map[string]string{"deepseek-flash": "ds-flash-2"},
		Limits: map[string]breakwater.RatePolicy{"ds-flash-2": {InFlight: 20}},
	}
	if _, err := breakwater.New(breakwater.WithEndpoints(endpoint)); err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(endpoint) // without the key
	// Output: gateway (https://llm.example.com/v1)
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

// The first host sends a web page with a status of 200, twice. Then the second host
// answers.
func ExampleTrailOf() {
	fleet := start(kit.DeepSeek("primary"), kit.SiliconFlow("backup"))
	defer fleet.Close()
	fleet.Server("primary").Break(kit.HTMLInside())
	client, err := breakwater.NewClient(
		breakwater.WithEndpoints(breakwater.Endpoint{Name: "primary", URL: fleet.Server("primary").URL(), APIKey: "sk-1"}),
		breakwater.WithBackup(breakwater.Endpoint{Name: "backup", URL: fleet.Server("backup").URL(), APIKey: "sk-2"}),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()
	resp, err := client.Do(question(context.Background(), fleet, ""))
	fmt.Println(right(resp, err))
	for _, a := range breakwater.TrailOf(resp) {
		fmt.Println(a.N, a.Endpoint, a.Status, a.Class, a.Verdict)
	}
	// Output:
	// the right answer
	// 1 primary 200 bad_response again
	// 2 primary 200 bad_response elsewhere
	// 3 backup 200 ok accept
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

// A confidential call stays at the endpoints with a tag, also if none of them answers.
func ExampleCall_endpoints() {
	fleet := start(kit.VLLM("rack"), kit.DeepSeek("cloud"))
	defer fleet.Close()
	rack := breakwater.Endpoint{Name: "rack", URL: fleet.Server("rack").URL(), Keyless: true, Tags: []string{"on-premises"}}
	cloud := breakwater.Endpoint{Name: "cloud", URL: fleet.Server("cloud").URL(), APIKey: "sk-cloud"}
	client, err := breakwater.NewClient(breakwater.WithEndpoints(rack), breakwater.WithBackup(cloud), breakwater.WithRetry(breakwater.RetryPolicy{Attempts: 1}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()
	fleet.Server("rack").Break(kit.Busy())
	for _, words := range [][]string{nil, {"on-premises"}, {"onpremises"}} {
		ctx := breakwater.WithCall(context.Background(), breakwater.Call{Endpoints: words})
		resp, err := client.Do(question(ctx, fleet, ""))
		if err != nil {
			fmt.Println(err)
			return
		}
		resp.Body.Close()
		fmt.Println(words, resp.StatusCode, breakwater.ErrorOf(resp))
	}
	// Output:
	// [] 200 <nil>
	// [on-premises] 503 breakwater: no endpoint answered: rack: unavailable (503)
	// [onpremises] 503 breakwater: no endpoint has the name, tag or region "onpremises" of Call.Endpoints: there is "cloud", "on-premises", "rack"
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

// An Observer that counts attempts by endpoint and class. Publish the counts with expvar
// or with the client of your metrics.
func ExampleWithObserver() {
	fleet := start(kit.DeepSeek("host"))
	defer fleet.Close()
	fleet.Server("host").BreakNext(1, kit.ServerError())

	attempts := new(expvar.Map) // expvar.NewMap would publish it
	client, err := breakwater.NewClient(
		breakwater.WithEndpoints(breakwater.Endpoint{Name: "host", URL: fleet.Server("host").URL(), APIKey: "sk-1"}),
		breakwater.WithObserver(func(_ context.Context, e breakwater.Event) {
			if e.Kind == breakwater.KindAttempt {
				attempts.Add(e.Endpoint+" "+string(e.Class), 1)
			}
		}),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()
	fmt.Println(right(client.Do(question(context.Background(), fleet, ""))))
	fmt.Println(attempts)
	// Output:
	// the right answer
	// {"host ok": 1, "host unavailable": 1}
}

// Log writes events to a slog.Logger: here only warnings and errors, without times.
func ExampleLog() {
	fleet := start(kit.DeepSeek("host"))
	defer fleet.Close()
	fleet.Server("host").BreakNext(1, kit.ErrorInside())
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelInfo,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			switch a.Key {
			case slog.TimeKey, "elapsed", "first_token", "call", "bytes", "tokens": // these vary
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
	// level=INFO msg="breakwater: attempt" endpoint=host model=deepseek-flash attempt=1 status=200 class=unavailable verdict=again fault=host request_id=host-00000001 err="bad response"
	// level=INFO msg="breakwater: end" endpoint=host model=deepseek-flash attempt=2 status=200 class=ok outcome=retry
	// the right answer
}

// Lines as JSON. The handler leaves out here what differs from run to run.
func ExampleLog_json() {
	fleet := start(kit.DeepSeek("host"))
	defer fleet.Close()
	fleet.Server("host").BreakNext(1, kit.Status(http.StatusServiceUnavailable, "application/json", "{}"))
	handler := slog.NewJSONHandler(os.Stdout, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		switch a.Key {
		case slog.TimeKey, "elapsed", "first_token", "wait", "call", "request_id", "bytes":
			return slog.Attr{}
		}
		return a
	}})
	client, err := breakwater.NewClient(breakwater.WithObserver(breakwater.Log(slog.New(handler))),
		breakwater.WithEndpoints(breakwater.Endpoint{Name: "host", URL: fleet.Server("host").URL(), APIKey: "sk-1"}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer client.CloseIdleConnections()
	fmt.Println(right(client.Do(question(context.Background(), fleet, ""))))
	// Output:
	// {"level":"INFO","msg":"breakwater: attempt","endpoint":"host","model":"deepseek-flash","attempt":1,"status":503,"class":"unavailable","verdict":"again","fault":"host"}
	// {"level":"INFO","msg":"breakwater: end","endpoint":"host","model":"deepseek-flash","attempt":2,"status":200,"class":"ok","outcome":"retry","tokens":19}
	// the right answer
}

// A sampler keeps the lines below Warn of one call in ten. It chooses by the id of the call, so
// a call has all of its lines or none. Lines from Warn on are kept.
type sampler struct{ slog.Handler }

func (s sampler) Handle(ctx context.Context, line slog.Record) error {
	if line.Level < slog.LevelWarn {
		keep := true
		line.Attrs(func(a slog.Attr) bool {
			if a.Key == "call" {
				keep = crc32.ChecksumIEEE([]byte(a.Value.String()))%10 == 0
			}
			return a.Key != "call"
		})
		if !keep {
			return nil
		}
	}
	return s.Handler.Handle(ctx, line)
}

// An outage has many lines at Info. A handler keeps all warnings, and a sample of the rest.
func ExampleLog_sampling() {
	var lines bytes.Buffer
	observe := breakwater.Log(slog.New(sampler{slog.NewTextHandler(&lines, nil)}))
	for n := range 1000 { // calls that are answered at the second attempt, and one that fails
		id := fmt.Sprint("call-", n)
		observe(context.Background(), breakwater.Event{Kind: breakwater.KindAttempt, Attempt: 1, Class: breakwater.ClassUnavailable, Call: id})
		observe(context.Background(), breakwater.Event{Kind: breakwater.KindEnd, Attempt: 2, Class: breakwater.ClassOK, Outcome: breakwater.OutcomeRetry, Call: id})
	}
	observe(context.Background(), breakwater.Event{Kind: breakwater.KindCall, Attempt: 3, Class: breakwater.ClassUnavailable, Outcome: "unavailable", Fault: breakwater.FaultHost, Call: "call-1000"})
	for _, line := range []string{"level=INFO msg=\"breakwater: attempt\"", "level=INFO msg=\"breakwater: end\"", "level=WARN msg=\"breakwater: call\""} {
		fmt.Println(strings.Count(lines.String(), line), line)
	}
	// Output:
	// 90 level=INFO msg="breakwater: attempt"
	// 90 level=INFO msg="breakwater: end"
	// 1 level=WARN msg="breakwater: call"
}

// New checks all options. Each error names its option, and none shows a key.
func ExampleNew_nonsense() {
	_, err := breakwater.New(
		breakwater.WithEndpoints(breakwater.Endpoint{URL: "http://api.example.com", APIKey: "sk-secret"}),
		breakwater.WithRetry(breakwater.RetryPolicy{Attempts: -3}),
	)
	fmt.Println(err)
	// Output:
	// breakwater: WithEndpoints: endpoint "api.example.com": a key would go over plain http to "api.example.com", readable on the way: use https, or set AllowPlainHTTP if the network is your own
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
