package main

import (
	"net/http"
	"os"
	"strings"

	"github.com/breakwater-go/breakwater"
	"github.com/breakwater-go/breakwater/breakwatertest"
)

const baseURL = "https://api.deepseek.com"

// client is as in compat/examples/sea, which is in a module that genkit cannot
// share: with DEEPSEEK_API_KEY set it asks the real API. Without, DeepSeek and
// a backup are fakes on loopback, and DeepSeek is down.
func client() (client *http.Client, key string, done func()) {
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
		breakwater.WithBase(breakwater.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
			if req.URL.Host == "api.deepseek.com" {
				req = req.Clone(req.Context())
				req.URL.Scheme, req.URL.Host = "http", strings.TrimPrefix(fleet.Server("deepseek").URL(), "http://")
			}
			return base.RoundTrip(req)
		})))
	return client, "sk-fake", func() {
		base.CloseIdleConnections()
		fleet.Close()
	}
}

func with(opts ...breakwater.Option) *http.Client {
	client, err := breakwater.NewClient(opts...)
	if err != nil {
		fail(err)
	}
	return client
}
