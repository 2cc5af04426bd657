package diagnose

import (
	"context"
	"io"
	"net/http"

	"github.com/tidwall/gjson"

	"github.com/breakwater-go/breakwater/internal/header"
	"github.com/breakwater-go/breakwater/internal/wire"
)

// maxPage is how much of a status page is read.
const maxPage = 1 << 20

// askStatusPage asks what the host says of itself. It decides nothing: such pages are late, and
// cannot be reached from everywhere.
func (d *diagnosis) askStatusPage(ctx context.Context, s *stage) {
	pages := d.statusPages
	if pages == nil && d.profile.IsAt(d.target.Hostname()) {
		pages = d.profile.StatusPages
	}
	if len(pages) == 0 {
		s.skip("not told")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, d.limit(pageShare))
	defer cancel()
	came := make(chan *StatusPage, len(pages))
	for _, page := range pages {
		go func() { came <- readPage(ctx, page) }()
	}
	var status *StatusPage
	for range pages {
		if p := <-came; status == nil && p != nil {
			status = p
		}
	}
	if status == nil {
		d.report.Status = &StatusPage{URL: clean(pages[0])}
		s.skip("page silent")
		return
	}
	d.report.Status = status
	if status.Indicator != "none" || status.Incidents > 0 {
		s.find(Incident, args{"indicator": status.Indicator, "count": status.Incidents, "url": status.URL}, nil)
	}
	s.say("page says", args{"indicator": status.Indicator, "count": status.Incidents})
}

// readPage reads one page. It has a connection of its own and no key, and follows no redirect.
func readPage(ctx context.Context, page string) *StatusPage {
	t := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, MaxResponseHeaderBytes: maxHeaders}
	defer t.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return nil
	}
	resp, err := t.RoundTrip(req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPage))
	if err != nil || resp.StatusCode != http.StatusOK || !wire.Valid(body) {
		return nil
	}
	indicator := header.Visible(gjson.GetBytes(body, "status.indicator").String(), 16)
	if indicator == "" {
		return nil
	}
	open := int(gjson.GetBytes(body, "incidents.#").Int())
	return &StatusPage{URL: clean(page), Reached: true, Indicator: indicator, Incidents: min(max(open, 0), 1000)}
}
