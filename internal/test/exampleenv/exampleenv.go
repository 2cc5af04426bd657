// Package exampleenv is the environment of the examples: breakwater over
// DeepSeek and a backup. With DEEPSEEK_API_KEY set it is the real API, with no
// backup. Without it, both are fakes on loopback, and DeepSeek is down.
package exampleenv

import (
	"fmt"
	"net/http"
	"os"
	"strings"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/breakwatertest"
)

// BaseURL is DeepSeek's, in either environment.
const BaseURL = "https://api.deepseek.com"

// Model is the model that the examples ask for, in DeepSeek's words.
const Model = "deepseek-flash"

// Client returns an http.Client with breakwater inside, the key to give to an
// SDK, and what to do at the end.
func Client() (client *http.Client, key string, done func()) {
	if key := os.Getenv("DEEPSEEK_API_KEY"); key != "" {
		return with(breakwater.WithEndpoints(breakwater.DeepSeek(key))), key, func() {}
	}
	fleet, err := breakwatertest.NewFleet(breakwatertest.DeepSeek("deepseek"), breakwatertest.SiliconFlow("backup"))
	if err != nil {
		fail(err)
	}
	fleet.Server("deepseek").Break(breakwatertest.Busy())
	backup := breakwater.SiliconFlow("sk-backup")
	backup.Name, backup.URL = "backup", fleet.Server("backup").URL()
	base := fleet.Transport()
	client = with(
		breakwater.WithEndpoints(breakwater.DeepSeek("sk-fake")),
		breakwater.WithBackup(backup),
		breakwater.WithBase(toLoopback{base, strings.TrimPrefix(fleet.Server("deepseek").URL(), "http://")}))
	return client, "sk-fake", func() {
		base.CloseIdleConnections()
		fleet.Close()
	}
}

// toLoopback leads what is meant for DeepSeek to the fake.
type toLoopback struct {
	base http.RoundTripper
	fake string
}

func (t toLoopback) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Host == "api.deepseek.com" {
		req = req.Clone(req.Context())
		req.URL.Scheme, req.URL.Host = "http", t.fake
	}
	return t.base.RoundTrip(req)
}

func with(opts ...breakwater.Option) *http.Client {
	client, err := breakwater.NewClient(opts...)
	if err != nil {
		fail(err)
	}
	return client
}

// Print prints an answer and the attempts behind it, or ends the program.
func Print(answer string, err error, trail *breakwater.Trail) {
	if err != nil {
		fail(err)
	}
	fmt.Println(answer)
	for _, a := range trail.Attempts() {
		fmt.Printf("%d %s: %s, %s\n", a.N, a.Endpoint, a.Class, a.Verdict)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}
