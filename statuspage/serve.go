package statuspage

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
)

// ServeHTTP serves the page to GET and HEAD.
func (p *Page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Vary", "Accept, Accept-Language")
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "the status page answers GET and HEAD", http.StatusMethodNotAllowed)
		return
	}
	var body bytes.Buffer
	var err error
	if wantsJSON(strings.Join(r.Header.Values("Accept"), ",")) {
		h.Set("Content-Type", "application/json")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		err = json.NewEncoder(&body).Encode(p.Snapshot())
	} else {
		v := view{Snapshot: p.Snapshot(), Nonce: rand.Text(), Lang: language(strings.Join(r.Header.Values("Accept-Language"), ","))}
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Language", v.Lang)
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-"+v.Nonce+"'; style-src 'nonce-"+v.Nonce+"'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		err = document.Execute(&body, v)
	}
	if err != nil {
		http.Error(w, "the status page cannot be written", http.StatusInternalServerError)
		return
	}
	h.Set("Content-Length", strconv.Itoa(body.Len()))
	if r.Method == http.MethodGet {
		w.Write(body.Bytes())
	}
}

// wantsJSON reports whether JSON is wanted more than HTML: its quality is higher, or the same
// and it is named more exactly. So */* gets HTML.
func wantsJSON(accept string) bool {
	json, exactly := quality(accept, "application", "json")
	html, asExactly := quality(accept, "text", "html")
	return json > html || json == html && json > 0 && exactly > asExactly
}

// quality returns the quality that an Accept header gives to a type, and how exactly it names it:
// 0 not at all, 1 by */*, 2 by its main type, 3 in full.
func quality(accept, main, sub string) (q float64, exactly int) {
	for name, value := range preferences(accept) {
		of := 0
		switch name {
		case main + "/" + sub:
			of = 3
		case main + "/*":
			of = 2
		case "*/*":
			of = 1
		}
		if of > exactly {
			q, exactly = value, of
		}
	}
	return q, exactly
}

// language returns zh if it is wanted more than en.
func language(accept string) string {
	best, most := "en", 0.0
	for tag, q := range preferences(accept) {
		primary, _, _ := strings.Cut(tag, "-")
		if (primary == "zh" || primary == "en") && q > most {
			best, most = primary, q
		}
	}
	return best
}

// preferences yields the values of an Accept header in lower case, with their qualities.
func preferences(accept string) func(yield func(string, float64) bool) {
	return func(yield func(string, float64) bool) {
		for part := range strings.SplitSeq(accept, ",") {
			name, params, _ := strings.Cut(part, ";")
			q := 1.0
			for param := range strings.SplitSeq(params, ";") {
				if key, value, ok := strings.Cut(strings.TrimSpace(param), "="); ok && strings.EqualFold(key, "q") {
					var err error
					if q, err = strconv.ParseFloat(value, 64); err != nil || !(q >= 0 && q <= 1) {
						q = 0
					}
				}
			}
			if !yield(strings.ToLower(strings.TrimSpace(name)), q) {
				return
			}
		}
	}
}
