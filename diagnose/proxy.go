package diagnose

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http/httpproxy"

	"github.com/breakwater-go/breakwater/internal/origin"
)

// variable returns the value of a variable, in capitals or not, as Go's net/http reads it.
func (d *diagnosis) variable(name string) (value, as string) {
	for _, as := range []string{name, strings.ToLower(name)} {
		if v, ok := d.environment(as); ok && v != "" {
			return v, as
		}
	}
	return "", ""
}

// proxyFor returns the proxy for a URL by the environment, as breakwater's own base does: none for
// this machine.
func (d *diagnosis) proxyFor(u *url.URL) (*url.URL, error) {
	if origin.IsLoopback(u.Hostname()) {
		return nil, nil
	}
	return d.proxyConfig(true).ProxyFunc()(u)
}

func (d *diagnosis) proxyConfig(withExceptions bool) *httpproxy.Config {
	c := new(httpproxy.Config)
	c.HTTPProxy, _ = d.variable("HTTP_PROXY")
	c.HTTPSProxy, _ = d.variable("HTTPS_PROXY")
	if withExceptions {
		c.NoProxy, _ = d.variable("NO_PROXY")
	}
	return c
}

var errNoProxyURL = errors.New("diagnose: a variable has no URL of a proxy")

// examineProxy finds out which proxy applies to the endpoint. bad means that the setting is of no
// use.
func (d *diagnosis) examineProxy(s *stage) (proxy *url.URL, bad bool) {
	value, variable := d.variable(strings.ToUpper(d.target.Scheme) + "_PROXY")
	var err error
	if t := d.config.transport; t != nil {
		value, variable = "", d.language.say("transport", nil)
		if t.Proxy != nil {
			proxy, err = t.Proxy(&http.Request{Method: http.MethodGet, URL: d.target, Header: make(http.Header)})
		}
	} else {
		proxy, err = d.proxyFor(d.target)
	}
	if _, wrong := url.Parse(value); err == nil && proxy != nil && (proxy.Hostname() == "" || wrong != nil && strings.Contains(value, "://")) {
		err = errNoProxyURL
	}
	if err != nil { // it may quote a password
		s.find(ProxyInvalid, args{"variable": variable}, errNoProxyURL)
		return nil, true
	}
	if proxy == nil {
		d.tellNoProxy(s, value)
		return nil, false
	}
	if password, ok := proxy.User.Password(); ok {
		d.noteSecret(password)
	}
	d.report.Proxy = &Proxy{URL: shownProxy(proxy), Variable: variable}
	s.find(ProxyInUse, args{"proxy": shownProxy(proxy), "variable": variable, "name": d.target.Hostname()}, nil)
	s.say("through", args{"proxy": shownProxy(proxy)})
	return proxy, false
}

// tellNoProxy says why no proxy applies.
func (d *diagnosis) tellNoProxy(s *stage, value string) {
	if value == "" {
		s.say("no proxy", nil)
		return
	}
	why := "NO_PROXY"
	if origin.IsLoopback(d.target.Hostname()) {
		why = "loopback"
	}
	d.report.Proxy = &Proxy{Bypass: why}
	s.say("bypassed", args{"why": why})
}

// shownProxy returns the URL of a proxy without its user.
func shownProxy(u *url.URL) string {
	return clean((&url.URL{Scheme: u.Scheme, Host: u.Host}).String())
}

// aboutProxy returns what findings about the proxy say. It tries whether the host can be reached
// without it.
func (d *diagnosis) aboutProxy(ctx context.Context, proxy *url.URL) args {
	variable := ""
	if p := d.report.Proxy; p != nil {
		variable = p.Variable
	}
	direct := term("direct fails")
	if d.reachesDirectly(ctx) {
		direct = "direct works"
	}
	return args{"proxy": shownProxy(proxy), "variable": variable, "name": d.target.Hostname(), "direct": phrase{direct, nil}}
}

// reachesDirectly reports whether some address of the host can be connected without the proxy.
func (d *diagnosis) reachesDirectly(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, d.limit(dnsShare))
	defer cancel()
	found := askSystem(ctx, d.lookup, d.target.Hostname())
	ways := waysTo(found.addresses[:min(len(found.addresses), maxTried)], portOf(d.target), false)
	d.examineTCP(ctx, ways)
	reached := false
	for _, w := range ways {
		if w.conn != nil {
			w.conn.Close()
			reached = true
		}
	}
	return reached
}

// proxyUnknown tells of a proxy whose name has no address, in place of what DNS says of it.
func (d *diagnosis) proxyUnknown(ctx context.Context, s *stage, proxy *url.URL) {
	var cause error
	for _, f := range s.findings {
		cause = errors.Join(cause, f.Err)
	}
	s.findings, s.text = nil, ""
	s.find(ProxyUnknown, d.aboutProxy(ctx, proxy), cause)
}

// tellProxy tells what became of the handshakes with the proxy, and returns the ways that lead to
// it.
func (d *diagnosis) tellProxy(ctx context.Context, s *stage, ways []*way, proxy *url.URL) (open []*way) {
	code, cause := ProxySilent, error(nil)
	for _, w := range ways {
		if w.TCP == tcpOK {
			open = append(open, w)
			continue
		}
		cause = w.err
		if w.TCP != tcpTimeout {
			code = ProxyRefused
		}
	}
	s.say("connected", args{"n": len(open), "all": len(ways)})
	if len(open) == 0 {
		s.find(code, d.aboutProxy(ctx, proxy), cause)
	}
	return open
}

// tunnelThrough asks the proxy to connect to the host.
func (d *diagnosis) tunnelThrough(ctx context.Context, s *stage, ways []*way, proxy *url.URL) []*way {
	within, cancel := context.WithTimeout(ctx, d.limit(tlsShare))
	defer cancel()
	conn, status, err := d.tunnel(within, ways[0].conn, proxy)
	switch {
	case err != nil:
		about := d.aboutProxy(ctx, proxy)
		about["answer"] = term("no answer")
		code := ProxyDeclined
		if within.Err() != nil || isTimeout(err) {
			code = ProxySilent
		}
		s.find(code, about, err)
		return nil
	case status == http.StatusProxyAuthRequired:
		s.find(ProxyWantsLogin, d.aboutProxy(ctx, proxy), nil)
		return nil
	case status != http.StatusOK:
		about := d.aboutProxy(ctx, proxy)
		about["answer"] = strconv.Itoa(status)
		s.find(ProxyDeclined, about, nil)
		return nil
	}
	conn.SetDeadline(time.Time{})
	ways[0].conn = conn
	return ways
}
