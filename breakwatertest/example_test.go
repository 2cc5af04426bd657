package breakwatertest_test

import (
	"context"
	"fmt"
	"net/http"

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
