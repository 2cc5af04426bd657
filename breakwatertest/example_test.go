package breakwatertest_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/breakwatertest"
)

// The primary is overloaded. The program gets the backup's answer.
func Example() {
	fleet, err := breakwatertest.NewFleet(breakwatertest.DeepSeek("primary"), breakwatertest.SiliconFlow("backup"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer fleet.Close()
	primary, backup := fleet.Server("primary"), fleet.Server("backup")

	transport, err := breakwater.New(
		breakwater.WithEndpoints(breakwater.Endpoint{Name: "primary", URL: primary.URL(), APIKey: "sk-1"}),
		breakwater.WithBackup(breakwater.Endpoint{Name: "backup", URL: backup.URL(), APIKey: "sk-2"}),
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	defer transport.Close()
	client := &http.Client{Transport: transport}

	primary.Break(breakwatertest.Busy())
	req, err := breakwatertest.ChatRequest(context.Background(), primary.URL(), "", "deepseek-flash", "Is the harbour open?", true)
	if err != nil {
		fmt.Println(err)
		return
	}
	resp, err := client.Do(req)
	if err != nil {
		fmt.Println(err)
		return
	}
	answer, err := breakwatertest.ReadAnswer(resp)
	fmt.Println(answer.Content == breakwatertest.Answer("Is the harbour open?"), answer.Fingerprint, err)
	fmt.Println("the primary was asked", len(primary.Requests()), "times")
	// Output:
	// true fp_backup <nil>
	// the primary was asked 2 times
}

// A test in virtual time: the host is silent for ten minutes, and the test takes none. In a
// TestSilence(t *testing.T):
func ExampleNewPipeFleet() {
	var t *testing.T
	silence := func(t *testing.T) {
		fleet, err := breakwatertest.NewPipeFleet(breakwatertest.DeepSeek("host"))
		if err != nil {
			t.Fatal(err)
		}
		defer fleet.Close()
		host, base := fleet.Server("host"), fleet.Transport()
		defer base.CloseIdleConnections()
		transport, err := breakwater.New(
			breakwater.WithBase(base), // only it reaches the fleet
			breakwater.WithEndpoints(breakwater.Endpoint{URL: host.URL(), APIKey: "sk-1", Host: breakwater.HostDeepSeek}),
		)
		if err != nil {
			t.Fatal(err)
		}
		defer transport.Close()
		client := &http.Client{Transport: transport}

		host.Break(breakwatertest.SlowHeaders(10 * time.Minute))
		req, err := breakwatertest.ChatRequest(t.Context(), host.URL(), "", "deepseek-flash", "Is the harbour open?", false)
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		reply, err := breakwatertest.ReadAnswer(resp)
		if err != nil || reply.Content != breakwatertest.Answer("Is the harbour open?") {
			t.Errorf("got %q, error %v, want the answer", reply.Content, err)
		}
		if took := time.Since(start); took != 10*time.Minute {
			t.Errorf("the answer took %v, want 10m", took)
		}
	}
	synctest.Test(t, silence)
}

// What a host sent is recorded, and played again without it.
func ExampleReplay() {
	fleet, err := breakwatertest.NewFleet(breakwatertest.DeepSeek("host"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer fleet.Close()
	host := fleet.Server("host")
	host.Break(breakwatertest.Busy())

	var records bytes.Buffer // or a folder: RecordOptions.Dir
	rec, err := breakwatertest.Record(http.DefaultTransport, breakwatertest.RecordOptions{Writer: &records})
	if err != nil {
		fmt.Println(err)
		return
	}
	ask := func(base http.RoundTripper) {
		req, err := breakwatertest.ChatRequest(context.Background(), host.URL(), "sk-1", "deepseek-flash", "Is the harbour open?", false)
		if err != nil {
			fmt.Println(err)
			return
		}
		resp, err := base.RoundTrip(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		_, err = breakwatertest.ReadAnswer(resp)
		var status *breakwatertest.StatusError
		fmt.Println(errors.As(err, &status) && status.Code == 503, strings.Contains(records.String(), "sk-1"))
	}
	ask(rec)
	if err := rec.Close(); err != nil {
		fmt.Println(err)
		return
	}
	host.Heal()
	base, err := breakwatertest.ReplayFrom(&records, breakwatertest.ReplayOptions{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ask(base)
	fmt.Println("the host was asked", len(host.Requests()), "time")
	// Output:
	// true false
	// true false
	// the host was asked 1 time
}

// A client that retries at once, and takes what it gets for the answer.
func ExampleFleet_Expect() {
	fleet, err := breakwatertest.NewFleet(breakwatertest.DeepSeek("host"))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer fleet.Close()
	host := fleet.Server("host")
	host.BreakNext(1, breakwatertest.TooManyRequests("30"))
	host.BreakNext(1, breakwatertest.EndStream(3))

	hosts := fleet.Expect(nil, breakwatertest.Client{}) // in a test: fleet.Expect(t, …)
	const prompt = "Is the harbour open?"
	for range 2 {
		req, err := breakwatertest.ChatRequest(context.Background(), host.URL(), "sk-1", "deepseek-flash", prompt, true)
		if err != nil {
			fmt.Println(err)
			return
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			fmt.Println(err)
			return
		}
		if reply, err := breakwatertest.ReadAnswer(resp); err == nil {
			hosts.Got(prompt, reply, nil)
		}
	}
	for _, f := range hosts.Findings() {
		fmt.Println(f.Fail, "at request", f.Request)
	}
	// Output:
	// retried too early at request 2
	// took half for whole at request 0
}
