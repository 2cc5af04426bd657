package breakwatertest

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// A Fleet is a set of fake hosts. It is safe for concurrent use.
type Fleet struct {
	servers []*Server
	byName  map[string]*Server
	inPipes bool

	ctx     context.Context // the parent of every request's context; Close cancels it
	cancel  context.CancelFunc
	serving sync.WaitGroup // one for each listener being served
	conns   sync.WaitGroup // one for each connection being served
	closing sync.Once

	handlers counter // HTTP/2 handlers; they may end a little later than their connections
}

// A counter is a WaitGroup that may count up again while a goroutine waits.
type counter struct {
	mu   sync.Mutex
	none sync.Cond
	n    int
}

func (c *counter) begin() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n++
}

func (c *counter) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n--; c.n == 0 {
		c.none.Broadcast()
	}
}

func (c *counter) wait() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.n > 0 {
		c.none.Wait()
	}
}

// NewFleet starts the hosts on free TCP ports of 127.0.0.1.
func NewFleet(hosts ...Host) (*Fleet, error) {
	return newFleet(hosts, false)
}

// NewPipeFleet starts the hosts in memory, at http://<name>.localhost<BasePath>,
// or https. Only [Fleet.Transport] reaches them. In a testing/synctest bubble, the
// fleet uses the bubble's clock, and must be closed before the bubble ends.
func NewPipeFleet(hosts ...Host) (*Fleet, error) {
	return newFleet(hosts, true)
}

func newFleet(hosts []Host, inPipes bool) (*Fleet, error) {
	f := &Fleet{byName: make(map[string]*Server), inPipes: inPipes}
	f.handlers.none.L = &f.handlers.mu
	f.ctx, f.cancel = context.WithCancel(context.Background())
	for _, host := range hosts {
		if err := f.add(host); err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

func (f *Fleet) add(host Host) error {
	if err := host.check(); err != nil {
		return err
	}
	if f.byName[host.Name] != nil {
		return fmt.Errorf("breakwatertest: two hosts are named %q", host.Name)
	}
	s := newServer(f, host)
	if err := s.start(); err != nil {
		return err
	}
	f.servers = append(f.servers, s)
	f.byName[host.Name] = s
	return nil
}

// Server returns the host with that name, or nil if there is none.
func (f *Fleet) Server(name string) *Server { return f.byName[name] }

// Servers returns all hosts in the order they were given.
func (f *Fleet) Servers() []*Server { return append([]*Server(nil), f.servers...) }

// Transport returns a new transport that reaches this fleet, trusts its
// certificates and uses no proxy. The caller should close its idle connections. In
// a synctest bubble this is necessary, or the bubble does not end.
func (f *Fleet) Transport() *http.Transport {
	return &http.Transport{
		DialContext:         f.dial,
		TLSClientConfig:     &tls.Config{RootCAs: ourAuthority().pool},
		TLSHandshakeTimeout: 10 * time.Second,
		ForceAttemptHTTP2:   true,
		IdleConnTimeout:     90 * time.Second,
	}
}

func (f *Fleet) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	for _, s := range f.servers {
		switch {
		case s.addr != addr:
		case s.unknown():
			return nil, noSuchHost(network, addr)
		case f.inPipes:
			return s.dialPipe(ctx)
		}
	}
	if f.inPipes {
		return nil, noSuchHost(network, addr)
	}
	return (&net.Dialer{Timeout: 10 * time.Second}).DialContext(ctx, network, addr)
}

// noSuchHost returns the error that net's dialer returns for an unknown name.
func noSuchHost(network, addr string) error {
	host, _, _ := net.SplitHostPort(addr) // never fails, because a transport made addr
	return &net.OpError{Op: "dial", Net: network, Err: &net.DNSError{
		Err: "no such host", Name: host, IsNotFound: true,
	}}
}

// Close ends all answers, connections and listeners, and waits until all goroutines
// of the fleet have ended. A second call does nothing.
func (f *Fleet) Close() {
	f.closing.Do(func() {
		f.cancel()
		for _, s := range f.servers {
			s.stop()
		}
		f.serving.Wait()
		// A connection may still be open that was accepted while its server stopped.
		// From now on, no more can be accepted.
		for _, s := range f.servers {
			s.conns.closeAll()
		}
		f.conns.Wait()
		f.handlers.wait()
	})
}

// listen opens a TCP port. If the fleet had the port before, listen may have to wait
// until its former connections have ended.
func listen(addr string) (net.Listener, error) {
	const patience = 5 * time.Second
	for start := time.Now(); ; {
		l, err := net.Listen("tcp", addr)
		if err == nil || !errors.Is(err, syscall.EADDRINUSE) || time.Since(start) > patience {
			return l, err
		}
		time.Sleep(10 * time.Millisecond)
	}
}
