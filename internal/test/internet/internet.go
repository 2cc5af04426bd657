// Package internet is a fake internet for programs that a test runs: they reach
// hosts by their real names, over https, and get to handlers of the test.
package internet

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Environment starts the hosts, by their names, and a proxy that leads to no
// others. It returns the environment in which a program of Go on Linux uses
// the proxy and trusts the hosts' certificate. The test's end stops them.
func Environment(t *testing.T, hosts map[string]http.Handler) []string {
	var names []string
	for name := range hosts {
		names = append(names, name)
	}
	cert := certificate(t, names)
	inside := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		hosts[r.Host].ServeHTTP(w, r) // the proxy lets no other through
	}))
	inside.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	inside.StartTLS()
	t.Cleanup(inside.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, port, _ := net.SplitHostPort(r.Host)
		if r.Method != http.MethodConnect || port != "443" || hosts[name] == nil {
			http.Error(w, "no such host", http.StatusBadGateway)
			return
		}
		tunnel(w, inside.Listener.Addr().String())
	}))
	t.Cleanup(proxy.Close)
	trusted := filepath.Join(t.TempDir(), "trusted.pem")
	if err := os.WriteFile(trusted, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	return []string{
		"HTTPS_PROXY=" + proxy.URL, "HTTP_PROXY=" + proxy.URL, "NO_PROXY=", "https_proxy=", "http_proxy=", "no_proxy=",
		"SSL_CERT_FILE=" + trusted, "SSL_CERT_DIR=" + filepath.Dir(trusted),
	}
}

// tunnel answers a CONNECT, and passes bytes both ways until one side is done.
func tunnel(w http.ResponseWriter, address string) {
	to, err := net.Dial("tcp", address)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer to.Close()
	w.WriteHeader(http.StatusOK)
	from, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer from.Close()
	buffered.Flush()
	done := make(chan struct{}, 2)
	pass := func(to io.Writer, from io.Reader) {
		io.Copy(to, from)
		done <- struct{}{}
	}
	go pass(to, buffered)
	go pass(from, to)
	<-done
}

// certificate signs itself for all names.
func certificate(t *testing.T, names []string) tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), DNSNames: names, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
