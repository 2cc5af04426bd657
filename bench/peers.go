package main

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v4"
	"github.com/failsafe-go/failsafe-go/circuitbreaker"
	"github.com/failsafe-go/failsafe-go/failsafehttp"
	"github.com/failsafe-go/failsafe-go/ratelimiter"
	"github.com/failsafe-go/failsafe-go/timeout"
	"github.com/gojek/heimdall/v7"
	"github.com/gojek/heimdall/v7/httpclient"
	"github.com/hashicorp/go-retryablehttp"
	"github.com/sony/gobreaker/v2"
	"golang.org/x/time/rate"

	"github.com/breakwater-go/breakwater"
)

// A peer is what one could put under a client. Each is set up as its documents
// advise, with up to three tries, and limits that nothing here reaches.
type peer struct {
	name string
	over func(base http.RoundTripper) http.RoundTripper
}

const (
	perSecond  = 1 << 30
	firstDelay = 500 * time.Millisecond
	lastDelay  = 8 * time.Second
	// longest is a timeout per try. It ends an answer that takes longer, so it
	// must be what an answer of a thinking model may take.
	longest = 10 * time.Minute
)

var peers = []peer{
	{"bare", func(base http.RoundTripper) http.RoundTripper { return base }},
	{"hand-made chain", handMade},
	{"go-retryablehttp", func(base http.RoundTripper) http.RoundTripper {
		c := retryablehttp.NewClient()
		c.Logger, c.RetryMax, c.RetryWaitMin, c.RetryWaitMax = nil, 2, firstDelay, lastDelay
		c.HTTPClient = &http.Client{Transport: base}
		c.ErrorHandler = retryablehttp.PassthroughErrorHandler // the last answer instead of an error of its own
		return &retryablehttp.RoundTripper{Client: c}
	}},
	{"heimdall", func(base http.RoundTripper) http.RoundTripper {
		c := httpclient.NewClient(httpclient.WithHTTPClient(&http.Client{Transport: base}), httpclient.WithRetryCount(2),
			httpclient.WithRetrier(heimdall.NewRetrier(heimdall.NewExponentialBackoff(firstDelay, lastDelay, 2, firstDelay))))
		return roundTripper(func(req *http.Request) (*http.Response, error) { return c.Do(req.Clone(req.Context())) })
	}},
	{"failsafe-go", func(base http.RoundTripper) http.RoundTripper {
		type response = *http.Response
		return failsafehttp.NewRoundTripper(base,
			failsafehttp.NewRetryPolicyBuilder().WithBackoff(firstDelay, lastDelay).WithMaxRetries(2).ReturnLastFailure().Build(),
			circuitbreaker.NewBuilder[response]().HandleIf(unwell).WithFailureRateThreshold(0.5, 20, time.Minute).WithDelay(5*time.Second).Build(),
			ratelimiter.NewBurstyBuilder[response](perSecond, time.Second).WithMaxWaitTime(5*time.Second).Build(),
			timeout.New[response](longest))
	}},
	{"breakwater", func(base http.RoundTripper) http.RoundTripper { return newBreakwater(breakwater.WithBase(base)) }},
}

func newBreakwater(opts ...breakwater.Option) *breakwater.Transport {
	rt, err := breakwater.New(opts...)
	if err != nil {
		panic(err)
	}
	return rt
}

func peerNamed(name string) peer {
	for _, p := range peers {
		if p.name == name {
			return p
		}
	}
	panic(name)
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// unwell is what retries and circuits go by everywhere but in breakwater: the
// error and the status.
func unwell(resp *http.Response, err error) bool {
	return err != nil || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode >= 500
}

// handMade is the chain that a team writes in an afternoon: a limiter, retries
// with backoff, and a circuit around each try.
func handMade(base http.RoundTripper) http.RoundTripper {
	limiter := rate.NewLimiter(perSecond, perSecond)
	circuit := gobreaker.NewCircuitBreaker[*http.Response](gobreaker.Settings{
		Interval: time.Minute, Timeout: 5 * time.Second,
		ReadyToTrip: func(n gobreaker.Counts) bool { return n.Requests >= 20 && 2*n.TotalFailures >= n.Requests },
	})
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		body, err := io.ReadAll(req.Body)
		if err != nil {
			return nil, err
		}
		req.Body.Close()
		var resp *http.Response
		delays := backoff.NewExponentialBackOff(backoff.WithInitialInterval(firstDelay), backoff.WithMaxInterval(lastDelay))
		err = backoff.Retry(func() error {
			if resp != nil {
				resp.Body.Close()
			}
			if err := limiter.Wait(req.Context()); err != nil {
				return backoff.Permanent(err)
			}
			var unwellAnswer error
			resp, err = circuit.Execute(func() (*http.Response, error) {
				try := req.Clone(req.Context())
				try.Body = io.NopCloser(bytes.NewReader(body))
				resp, err := base.RoundTrip(try)
				if err == nil && unwell(resp, nil) {
					unwellAnswer = errUnwell
					return resp, errUnwell
				}
				return resp, err
			})
			if unwellAnswer != nil {
				return unwellAnswer
			}
			return err
		}, backoff.WithContext(backoff.WithMaxRetries(delays, 2), req.Context()))
		if errors.Is(err, errUnwell) && resp != nil {
			return resp, nil
		}
		if err != nil {
			return nil, err
		}
		return resp, nil
	})
}

var errUnwell = errors.New("unwell")
