package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/breakwater-go/breakwater"
	kit "github.com/breakwater-go/breakwater/breakwatertest"
)

// An outcome is what a client made of a call.
type outcome string

const (
	right  outcome = "right"
	failed outcome = "error"
	wrong  outcome = "**wrong**" // taken for an answer, and not the right one
)

const patience = 4 * time.Second // of each call's caller

// question asks as a careful client does: it looks at the status, and reads to
// the end or to [DONE]; what reads without an error it takes for an answer.
func question(rt http.RoundTripper, url, prompt string, stream bool) outcome {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := kit.ChatRequest(ctx, url, "sk-1", "deepseek-flash", prompt, stream)
	if err != nil {
		return failed
	}
	resp, err := rt.RoundTrip(req)
	if err != nil {
		return failed
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return failed
	}
	text, err := textOf(resp.Body, stream)
	switch {
	case err != nil:
		return failed
	case text != kit.Answer(prompt):
		return wrong
	}
	return right
}

type message struct {
	Choices []struct {
		Message, Delta struct{ Content string }
	}
}

func textOf(body io.Reader, stream bool) (text string, err error) {
	var m message
	if !stream {
		if err := json.NewDecoder(body).Decode(&m); err != nil {
			return "", err
		}
		for _, c := range m.Choices {
			text += c.Message.Content
		}
		return text, nil
	}
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		data = strings.TrimSpace(data)
		if !ok || data == "" {
			continue
		}
		if data == "[DONE]" {
			return text, nil
		}
		m = message{}
		if err := json.Unmarshal([]byte(data), &m); err != nil {
			return "", err
		}
		for _, c := range m.Choices {
			text += c.Delta.Content
		}
	}
	return text, lines.Err()
}

// A sea is a primary and a backup. Peers know of the primary only: a second
// host is not what they are for.
type sea struct {
	fleet *kit.Fleet
	base  *http.Transport
}

func newSea() *sea {
	fleet, err := kit.NewFleet(kit.DeepSeek("primary"), kit.OpenAI("backup"))
	if err != nil {
		panic(err)
	}
	return &sea{fleet, fleet.Transport()}
}

func (s *sea) close() {
	s.base.CloseIdleConnections()
	s.fleet.Close()
}

func (s *sea) url() string { return s.fleet.Server("primary").URL() }

func (s *sea) over(p peer) http.RoundTripper {
	if p.name != "breakwater" {
		return p.over(s.base)
	}
	return newBreakwater(breakwater.WithBase(s.base),
		breakwater.WithEndpoints(breakwater.Endpoint{Name: "primary", URL: s.url(), APIKey: "sk-1", Host: breakwater.HostDeepSeek}),
		breakwater.WithBackup(breakwater.Endpoint{Name: "backup", URL: s.fleet.Server("backup").URL(), APIKey: "sk-2"}))
}

// faults is what becomes of a call, as JSON and as a stream, for each fault of
// the primary.
func faults() {
	columns := []peer{peerNamed("bare"), peerNamed("go-retryablehttp"), peerNamed("failsafe-go"), peerNamed("breakwater")}
	fmt.Printf("What a client gets, JSON · stream, within %v. All but breakwater have one host, for they know no second one; %s: taken for an answer, and not the right one.\n\n", patience, wrong)
	fmt.Print("| the host |")
	for _, p := range columns {
		fmt.Printf(" %s |", p.name)
	}
	fmt.Printf("\n|---|%s\n", strings.Repeat("---|", len(columns)))
	all := kit.Faults()
	cells := make([][]string, len(all))
	slots := make(chan struct{}, 16)
	var tasks sync.WaitGroup
	for i, f := range all {
		cells[i] = make([]string, len(columns))
		for j, p := range columns {
			tasks.Go(func() {
				slots <- struct{}{}
				defer func() { <-slots }()
				var got []string
				for _, stream := range []bool{false, true} {
					s := newSea()
					s.fleet.Server("primary").Break(f)
					got = append(got, string(question(s.over(p), s.url(), "what is a breakwater?", stream)))
					s.close()
				}
				cells[i][j] = strings.Join(got, " · ")
			})
		}
	}
	tasks.Wait()
	for i, f := range all {
		fmt.Printf("| %s | %s |\n", f, strings.Join(cells[i], " | "))
	}
}

// recovery is what a call gets, and when, whose host fails.
func recovery() {
	fmt.Printf("One call, JSON, while the first host fails: what it gets, and after how long. Callers give up after %v. Only breakwater has a second host.\n\n", patience)
	fmt.Print("| the host |")
	for _, p := range peers {
		fmt.Printf(" %s |", p.name)
	}
	fmt.Printf("\n|---|%s\n", strings.Repeat("---|", len(peers)))
	for _, f := range []kit.Fault{kit.Refused(), kit.Busy(), kit.Silence(), kit.TooManyRequests("1")} {
		fmt.Printf("| %s |", f)
		for _, p := range peers {
			s := newSea()
			s.fleet.Server("primary").Break(f)
			start := time.Now()
			got := question(s.over(p), s.url(), "what is a mole?", false)
			fmt.Printf(" %s, %v |", got, time.Since(start).Round(10*time.Millisecond))
			s.close()
		}
		fmt.Println()
	}
}
