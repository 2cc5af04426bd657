package statuspage

import (
	"bytes"
	"crypto/rand"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strconv"
	"strings"
	"time"
)

//go:embed page.html
var source string

var html = template.Must(template.New("page").Funcs(template.FuncMap{
	"list":    func(v view, id string, calls []Call) list { return list{v, id, calls} },
	"clock":   func(t time.Time) string { return t.UTC().Format("15:04:05 UTC") },
	"seconds": func(s float64) string { return strconv.FormatFloat(s, 'f', 2, 64) + " s" },
	"percent": func(share float64) string { return strconv.FormatFloat(100*share, 'f', 3, 64) + " %" },
	"length":  func(d time.Duration) string { return d.Round(time.Second).String() },
}).Parse(source))

// A view is what the template shows.
type view struct {
	Snapshot
	Nonce, Lang string
}

// A list is one of the lists of calls.
type list struct {
	View  view
	ID    string
	Calls []Call
}

// T returns a text in the language of the view.
func (v view) T(english string) string {
	if v.Lang == "zh" {
		if chinese, ok := chinese[english]; ok {
			return chinese
		}
	}
	return english
}

// A bar is a minute in the chart of calls.
type bar struct{ X, Answered, Failed, Y, YFailed float64 }

// Bars returns the chart of calls, 120 units high.
func (v view) Bars() (bars []bar) {
	most := float64(v.Most())
	for i, m := range v.Hour.Minutes {
		a, f := 120*float64(m.Answered)/most, 120*float64(m.Failed)/most
		bars = append(bars, bar{float64(i * 10), a, f, 120 - a, 120 - a - f})
	}
	return bars
}

// Most returns the most calls of a minute, and 1 if there were none.
func (v view) Most() uint64 {
	most := uint64(1)
	for _, m := range v.Hour.Minutes {
		most = max(most, m.Answered+m.Failed)
	}
	return most
}

// Slowest returns the largest P99 of a minute in seconds.
func (v view) Slowest() float64 {
	most := 0.001
	for _, m := range v.Hour.Minutes {
		if m.FirstToken != nil {
			most = max(most, m.FirstToken.P99)
		}
	}
	return most
}

// Line returns the path of a percentile, 120 units high. Minutes without calls interrupt it.
func (v view) Line(which string) string {
	var path strings.Builder
	drawn := false
	for i, m := range v.Hour.Minutes {
		if m.FirstToken == nil {
			drawn = false
			continue
		}
		s := map[string]float64{"p50": m.FirstToken.P50, "p95": m.FirstToken.P95, "p99": m.FirstToken.P99}[which]
		y := 120 - 120*s/v.Slowest()
		if !drawn {
			fmt.Fprintf(&path, "M%d %.1fh8", i*10, y) // a minute alone is seen, too
		} else {
			fmt.Fprintf(&path, "L%d %.1f", i*10+8, y)
		}
		drawn = true
	}
	return path.String()
}

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
	if accept := r.Header.Get("Accept"); strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html") {
		h.Set("Content-Type", "application/json")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		err = json.NewEncoder(&body).Encode(p.Snapshot())
	} else {
		v := view{Snapshot: p.Snapshot(), Nonce: rand.Text(), Lang: language(r.Header.Get("Accept-Language"))}
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Content-Language", v.Lang)
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'nonce-"+v.Nonce+"'; style-src 'nonce-"+v.Nonce+"'; connect-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		err = html.Execute(&body, v)
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

// language returns zh if it is wanted more than en.
func language(accept string) string {
	best, quality := "en", 0.0
	for part := range strings.SplitSeq(accept, ",") {
		tag, params, _ := strings.Cut(strings.TrimSpace(part), ";")
		q := 1.0
		if value, ok := strings.CutPrefix(strings.TrimSpace(params), "q="); ok {
			q, _ = strconv.ParseFloat(value, 64)
		}
		primary, _, _ := strings.Cut(strings.ToLower(tag), "-")
		if (primary == "zh" || primary == "en") && q > quality {
			best, quality = primary, q
		}
	}
	return best
}

var chinese = map[string]string{
	"Status": "状态", "Users are served": "服务正常", "Users are served, with failures or endpoints that are not well": "仍在服务，但有失败或异常端点",
	"Users are not served": "服务中断", "No calls in the last 5 minutes": "最近 5 分钟没有调用", "Last 5 minutes": "最近 5 分钟", "answered": "成功", "failed": "失败",
	"canceled": "已取消", "callers' mistakes": "调用方错误", "Served by": "服务来源", "Endpoints": "端点", "Endpoint": "端点", "State": "状态", "Since": "自", "Why": "原因", "Last answer": "最近成功",
	"Tier": "层级", "Circuits, pauses, limits": "熔断、暂停、限流", "ok": "正常", "degraded": "异常", "down": "中断", "paused": "暂停", "idle": "空闲", "Last hour": "最近一小时",
	"Calls a minute": "每分钟调用", "most": "最多", "Seconds to the first token, by minute": "每分钟首 token 秒数", "Failovers": "故障转移", "Failed calls": "失败的调用", "none": "无", "Time": "时间", "Call": "调用",
	"Outcome": "结果", "Trail": "尝试轨迹", "Objectives": "服务目标", "Window": "窗口", "Availability": "可用性", "Burn rate": "消耗速率", "Budget": "错误预算", "Cache": "缓存", "entries": "条", "hits": "命中", "misses": "未命中", "stale": "陈旧", "shared": "共享",
	"Build": "构建", "running since": "启动于", "until": "至", "in flight": "进行中", "waiting": "排队", "under way": "进行中", "passed over": "跳过", "updated": "更新于",
	"This page no longer refreshes: the service does not answer.": "页面已停止刷新：服务没有响应。", "No event has come: see Page.Observe.": "没有收到事件：见 Page.Observe。",
}
