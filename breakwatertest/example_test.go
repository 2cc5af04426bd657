package breakwatertest_test

import (
	"context"
	"fmt"
	"net/http"
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
