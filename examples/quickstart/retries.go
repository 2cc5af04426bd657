package main

import (
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// firstDelay is how long a retry waits first, here and in breakwater.
const firstDelay = 200 * time.Millisecond

// retries is what many programs have today: three more tries after an error, a
// 429 or a 5xx, with exponential backoff and jitter. Like the SDKs, it judges by
// the status and does not look into bodies.
type retries struct{ base http.RoundTripper }

// RoundTrip needs requests that have GetBody, as net/http makes them.
func (r retries) RoundTrip(req *http.Request) (*http.Response, error) {
	delay := firstDelay
	for try := 0; ; try++ {
		resp, err := r.base.RoundTrip(req)
		if try == 3 || req.Context().Err() != nil || err == nil && resp.StatusCode != http.StatusTooManyRequests && resp.StatusCode < 500 {
			return resp, err
		}
		if err == nil {
			io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10))
			resp.Body.Close()
		}
		select {
		case <-time.After(delay/2 + rand.N(delay/2)):
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
		delay *= 2
		if req, err = again(req); err != nil {
			return nil, err
		}
	}
}

// again returns the request with its body from the beginning.
func again(req *http.Request) (*http.Request, error) {
	body, err := req.GetBody()
	if err != nil {
		return nil, err
	}
	req = req.Clone(req.Context())
	req.Body = body
	return req, nil
}
