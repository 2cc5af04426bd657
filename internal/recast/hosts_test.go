package recast_test

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"testing"

	bt "github.com/breakwater-go/breakwater/breakwatertest"
	"github.com/breakwater-go/breakwater/internal/recast"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// What any host says on any wire reads the same in the form it was not sent in.
func TestAnswersOfHosts(t *testing.T) {
	fleet, err := bt.NewFleet(bt.Personas()...)
	if err != nil {
		t.Fatal(err)
	}
	defer fleet.Close()
	transport := fleet.Transport()
	defer transport.CloseIdleConnections()
	wires := map[bt.Wire]wire.Wire{bt.Chat: wire.Chat, bt.Completions: wire.Chat, bt.Responses: wire.Responses, bt.Messages: wire.Messages}
	for _, s := range fleet.Servers() {
		for w, ours := range wires {
			for _, more := range []string{"", `,"n":3`, `,"tools":[{"type":"function","name":"weather","function":{"name":"weather"}}]`, `,"stream_options":{"include_usage":true}`} {
				for _, stream := range []bool{false, true} {
					name := fmt.Sprintf("%s on %s, stream %v, %s", s.Name(), w, stream, more)
					kind, said := ask(t, transport, s, w, stream, more)
					other, ok := recast.ToJSON(ours, said)
					if !stream {
						other, ok = recast.ToStream(ours, said)
					}
					if !ok {
						t.Errorf("%s: %s is refused, want it taken", name, said)
						continue
					}
					form := "application/json"
					if !stream {
						form = "text/event-stream"
					}
					if got, want := read(t, form, other), read(t, kind, said); got != want {
						t.Errorf("%s: recast, %s reads as %s, want %s", name, said, got, want)
					}
				}
			}
		}
	}
}

// ask returns the content type of an answer, and the answer.
func ask(t *testing.T, transport *http.Transport, s *bt.Server, w bt.Wire, stream bool, more string) (string, []byte) {
	t.Helper()
	req, err := w.Request(t.Context(), s.WireURL(w), "sk-1", "deepseek-flash", "Is the harbour open?", stream)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(req.Body)
	body = append(bytes.TrimSuffix(body, []byte("}")), more+"}"...)
	req.Body, req.GetBody, req.ContentLength = io.NopCloser(bytes.NewReader(body)), nil, int64(len(body))
	resp, err := transport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s on %s: %s, %s, %v", s.Name(), w, resp.Status, said, err)
	}
	return resp.Header.Get("Content-Type"), said
}

// read returns what a client reads of an answer.
func read(t *testing.T, kind string, said []byte) string {
	t.Helper()
	reply, err := bt.ReadAnswer(&http.Response{
		StatusCode: http.StatusOK,
		Header:     http.Header{"Content-Type": {kind}},
		Body:       io.NopCloser(bytes.NewReader(said)),
	})
	if err != nil || !reply.Done {
		t.Errorf("ReadAnswer(%s) = %+v, %v, want it done", said, reply, err)
	}
	return fmt.Sprintf("%+v", reply)
}
