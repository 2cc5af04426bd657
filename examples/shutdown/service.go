package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/breakwater-go/breakwater"
)

// This file is the service. It is what you copy.

// newTransport returns breakwater for a service that is replaced often. Tests give
// more options, such as a network of fakes.
func newTransport(key, otherKey string, logger *slog.Logger, more ...breakwater.Option) (*breakwater.Transport, error) {
	options := []breakwater.Option{
		breakwater.WithEndpoints(breakwater.DeepSeek(key)),
		breakwater.WithBackup(breakwater.SiliconFlow(otherKey)),
		breakwater.WithRetry(breakwater.RetryPolicy{
			MaxRetryAfter: 10 * time.Second,
		}),
		breakwater.WithObserver(breakwater.Log(logger)),
	}
	return breakwater.New(append(options, more...)...)
}

// lastWords is how long handlers may take to tell their users that it ends.
const lastWords = 2 * time.Second

// serve serves until ctx is done, as by signal.NotifyContext. Then answers that are
// under way have the time grace to end.
func serve(ctx context.Context, l net.Listener, transport *breakwater.Transport, grace time.Duration) error {
	calls, cut := context.WithCancel(context.Background())
	defer cut()
	server := &http.Server{
		Handler:     &service{&http.Client{Transport: transport}},
		BaseContext: func(net.Listener) context.Context { return calls }, // not ctx: SIGTERM must not end calls
	}
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(l) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	if !drained(server, grace) {
		cut() // ends all calls to hosts, and all waits
		drained(server, lastWords)
	}
	return errors.Join(server.Close(), transport.Close())
}

// drained reports whether all requests have ended in time. No new ones begin.
func drained(server *http.Server, within time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), within)
	defer cancel()
	return server.Shutdown(ctx) == nil
}

// A service passes a chat completion on, as a stream.
type service struct{ client *http.Client }

func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	req, err := http.NewRequestWithContext(r.Context(), http.MethodPost, "https://api.deepseek.com/chat/completions", r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := s.client.Do(req)
	if err != nil { // the user has left, or the service ends
		http.Error(w, "try again", http.StatusServiceUnavailable)
		return
	}
	defer resp.Body.Close()
	w.Header().Set("Content-Type", resp.Header.Get("Content-Type"))
	w.WriteHeader(resp.StatusCode)
	if err := forward(w, resp.Body); err != nil {
		fmt.Fprint(w, "event: broken\ndata: {}\n\n") // a broken stream never looks whole
	}
}

// forward passes a body on as it comes.
func forward(w http.ResponseWriter, body io.Reader) error {
	buffer := make([]byte, 4096)
	for {
		n, err := body.Read(buffer)
		if _, werr := w.Write(buffer[:n]); werr != nil {
			return werr
		}
		if ferr := http.NewResponseController(w).Flush(); ferr != nil {
			return ferr
		}
		switch err {
		case nil:
		case io.EOF:
			return nil
		default:
			return err
		}
	}
}
