package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/test/recipe"
	"github.com/breakwater-go/breakwater/internal/test/recipe/recipetest"
)

func TestPage(t *testing.T) { recipetest.Run(t, "batch.md", run) }

// In a long outage, the job waits with a few documents. It does not fail all of them
// within seconds.
func TestOutage(t *testing.T) {
	for _, fault := range []kit.Fault{kit.Refused(), kit.Busy(), kit.CutJSON(), kit.QueueForever(), kit.BlackHole(), kit.TooManyRequests("30")} {
		synctest.Test(t, func(t *testing.T) {
			world, err := recipe.Begin(kit.NewPipeFleet, map[string]kit.Host{"api.deepseek.com": kit.DeepSeek("deepseek")})
			if err != nil {
				t.Fatal(err)
			}
			defer world.Close()
			transport, err := newTransport("sk-1", slog.New(slog.DiscardHandler), breakwater.WithBase(world))
			if err != nil {
				t.Fatal(err)
			}
			defer transport.Close()
			world.Server("deepseek").Break(fault)
			time.AfterFunc(time.Hour, world.Server("deepseek").Heal)
			documents := make([]string, 100)
			for i := range documents {
				documents[i] = fmt.Sprintf("Summarize page %d.", i)
			}
			j := &job{client: &http.Client{Transport: transport}, results: make(map[string]string)}
			if err := j.run(t.Context(), documents); err != nil || len(j.results) < 80 {
				t.Errorf("%v for an hour: %d of 100 documents have a result (%v), want most of them", fault, len(j.results), err)
			}
			t.Logf("%v: %d", fault, len(j.results))
		})
	}
}
