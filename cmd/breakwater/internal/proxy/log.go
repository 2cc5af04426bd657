package proxy

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// finish writes the line of the access log, and counts. ended is false if the handler panicked, which it does
// to end an answer that broke off.
//
// The line has no path but those that the proxy serves, no query, no header of the client's, and
// nothing of a body.
func (s *Server) finish(x *exchange, ended bool) {
	route, code := x.route.name(), strconv.Itoa(x.w.status)
	level := slog.LevelInfo
	switch {
	case ended && x.w.status == 0: // nothing was written: net/http answers 200
		code = "200"
	case !ended && (x.left || x.r.Context().Err() != nil):
		code = "left"
	case !ended:
		code, level = "aborted", slog.LevelWarn
	case x.w.status >= 500:
		level = slog.LevelWarn
	case x.route.isProbe():
		level = slog.LevelDebug
	}
	cut := x.w.isCut()
	if !ended && cut {
		code = "cut"
	}
	if s.ending.Err() != nil && (!ended || x.refused == "shutting_down") {
		s.cutCalls.Add(1)
	}
	s.meters.requests.WithLabelValues(route, code).Inc()
	if x.refused != "" {
		s.meters.refused.WithLabelValues(x.refused).Inc()
	}
	if first := x.first(); first > 0 {
		s.meters.seconds.WithLabelValues(route).Observe(first.Seconds())
	}
	if x.settings.config.NoAccessLog || !s.log.Enabled(context.Background(), level) {
		return
	}
	attrs := make([]slog.Attr, 0, 16)
	add := func(ok bool, a slog.Attr) {
		if ok {
			attrs = append(attrs, a)
		}
	}
	add(true, slog.String("method", methodOf(x.r.Method)))
	add(true, slog.String("route", route))
	add(x.w.status != 0, slog.Int("status", x.w.status))
	add(!ended, slog.String("end", code))
	add(x.refused != "", slog.String("refused", x.refused))
	add(x.why != "", slog.String("why", x.why))
	add(x.client != nil, slog.String("client", x.clientName()))
	add(x.endpoint != "", slog.String("endpoint", x.endpoint))
	add(x.outcome != "", slog.String("outcome", x.outcome))
	add(true, slog.Int64("bytes", x.w.bytes))
	add(!x.w.first.IsZero(), slog.Duration("first_byte", x.first()))
	add(true, slog.Duration("elapsed", time.Since(x.begin)))
	add(true, slog.String("remote", x.r.RemoteAddr))
	add(true, slog.String("proto", protoOf(x.r)))
	add(true, slog.String("id", x.id))
	s.log.LogAttrs(context.Background(), level, "request", attrs...)
}

// protoOf returns the protocol of a request, such as h2c.
func protoOf(r *http.Request) string {
	switch {
	case r.ProtoMajor == 2 && r.TLS == nil:
		return "h2c"
	case r.ProtoMajor == 2:
		return "h2"
	}
	return r.Proto
}

// first returns how long the client waited for the first byte.
func (x *exchange) first() time.Duration {
	if x.w.first.IsZero() {
		return 0
	}
	return x.w.first.Sub(x.begin)
}

// clientName returns who sent a request, for the log.
func (x *exchange) clientName() string {
	if x.client == nil {
		return ""
	}
	return x.client.Name
}

// methodOf returns a method for the log: clients may write anything there.
func methodOf(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodConnect, http.MethodOptions, http.MethodTrace:
		return method
	}
	if len(method) <= 16 && strings.Trim(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == "" {
		return method
	}
	return "other"
}
