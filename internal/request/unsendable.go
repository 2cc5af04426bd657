package request

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/outcome"
)

// Unsendable looks for a fault of the request that keeps every transport from
// sending it. Call it after a transport has failed with err and has sent nothing.
// It returns an error for the caller, who must correct the request, or nil if it
// finds no such fault. The host is not at fault then.
//
// Some requests can be sent with one protocol but not with another. Unsendable
// reports those only if the text of err does so, too.
func Unsendable(req *http.Request, err error) error {
	if own := errors.Join(header.Check(req.Header), header.CheckTrailer(req.Trailer)); own != nil {
		return own
	}
	text := err.Error()
	switch scheme := req.URL.Scheme; {
	case scheme != "http" && scheme != "https" && strings.Contains(text, "scheme"):
		return fmt.Errorf("breakwater: the base cannot send to a URL of scheme %q", scheme)
	case !validHost(req.Host):
		return outcome.Error("the request's Host is no valid host")
	case strings.ContainsFunc(req.URL.RequestURI(), isControl):
		return outcome.Error("the request's URL has a control character in it")
	case strings.Contains(text, "invalid request :path"):
		return outcome.Error("the request's path does not begin with a slash")
	case strings.Contains(text, "header list larger"): // RFC 9113, 6.5.2, SETTINGS_MAX_HEADER_LIST_SIZE
		return outcome.Error("the request's headers are larger than the host takes")
	}
	// RFC 9113, section 8.2.2: HTTP/2 does not allow these fields.
	for _, name := range [...]string{"Upgrade", "Connection", "Transfer-Encoding", "Trailer"} {
		if strings.Contains(text, "invalid "+name) {
			return fmt.Errorf("breakwater: HTTP/2 does not carry such a %s header", name)
		}
	}
	return nil
}

// validHost reports whether net/http would send this Host.
func validHost(host string) bool {
	host, err := httpguts.PunycodeHostPort(host)
	return err == nil && httpguts.ValidHostHeader(host)
}

func isControl(r rune) bool { return r < ' ' || r == 0x7F }
