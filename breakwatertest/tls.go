package breakwatertest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/http"
	"sync"
	"time"
)

// authority signs the certificates of all fleets of this process. They are valid
// before the time at which a synctest bubble's clock begins, which is 2000.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

var ourAuthority = sync.OnceValue(func() *authority {
	a := &authority{pool: x509.NewCertPool()}
	template := certificateOf("breakwatertest authority")
	template.IsCA, template.BasicConstraintsValid = true, true
	template.KeyUsage |= x509.KeyUsageCertSign
	a.cert, a.key = template, newKey()
	signed := a.sign(template, a.key)
	a.cert = signed.Leaf
	a.pool.AddCert(a.cert)
	return a
})

// issue makes a certificate for names and addresses.
func (a *authority) issue(names ...string) *tls.Certificate {
	template := certificateOf(names[0])
	for _, name := range names {
		if ip := net.ParseIP(name); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, name)
		}
	}
	return a.sign(template, newKey())
}

func (a *authority) sign(template *x509.Certificate, key *ecdsa.PrivateKey) *tls.Certificate {
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		panic("breakwatertest: making a certificate: " + err.Error())
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic("breakwatertest: making a certificate: " + err.Error())
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}
}

func newKey() *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic("breakwatertest: making a key: " + err.Error())
	}
	return key
}

func certificateOf(name string) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		panic("breakwatertest: making a certificate: " + err.Error())
	}
	return &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Date(1990, 1, 1, 0, 0, 0, 0, time.UTC),
		NotAfter:     time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
}

// secure makes the server use TLS, if its host does.
func (s *Server) secure() {
	if !s.encrypted() {
		return
	}
	right := ourAuthority().issue(s.host.Name+".localhost", "localhost", "127.0.0.1")
	wrong := ourAuthority().issue("elsewhere.invalid")
	s.http.TLSConfig = &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.fault.kind == kindBadCertificate {
			return wrong, nil
		}
		return right, nil
	}}
	s.http.Protocols = new(http.Protocols)
	s.http.Protocols.SetHTTP1(true)
	if s.host.HTTP2 {
		s.http.Protocols.SetHTTP2(true)
		s.interceptHTTP2()
	}
}

// encrypted reports whether the host's URL is an https URL.
func (s *Server) encrypted() bool { return s.host.TLS || s.host.HTTP2 }
