package price

import (
	"maps"
	"slices"
)

// This file holds the prices that hosts publish, as data. When a host changes them, only this
// file needs an edit. Hosts whose page we have not seen are left out: a cost that is not known is
// better than one that is wrong. A test lists the rows that nobody has looked at for half a
// year.

// deepSeek has the prices of DeepSeek's own API, by its names for the models. It says its peak
// hours in UTC: they are 09:00 to 12:00 and 14:00 to 18:00 in Beijing. Peak prices began on
// 2026-08-16.
var deepSeek = func() map[string]Price {
	at := func(cached, input, output float64) Price {
		return Price{
			Input: input, CachedInput: cached, Output: output, Currency: "USD",
			Peak: "Mon-Fri 01:00-04:00 06:00-10:00 UTC", PeakFactor: 2, Holidays: chineseHolidays,
			Source: "https://api-docs.deepseek.com/quick_start/pricing", Checked: "2026-11-27",
		}
	}
	flash, pro := at(0.003, 0.15, 0.60), at(0.022, 0.66, 1.98)
	return map[string]Price{
		"deepseek-flash": flash, "deepseek-v4-flash": flash, "deepseek-v4-flash-vision-exp": flash,
		"deepseek-v4-pro": pro,
	}
}()

// chineseHolidays are the holidays of which peak hours are left out, as the State Council
// announced them: https://www.gov.cn, notice of 2025-11-04 on 2026. Those of 2027: [unknown].
// Weekends are no peak hours anyway, so they are left out here, and so is what was before peak
// prices began.
var chineseHolidays = []string{"2026-09-25", "2026-10-01", "2026-10-02", "2026-10-05", "2026-10-06", "2026-10-07"}

// Table returns a copy of the prices of a host, by its name in package host; nil: they are not
// known.
func Table(host string) map[string]Price {
	if host != "deepseek" {
		return nil
	}
	table := maps.Clone(deepSeek)
	for model, p := range table {
		p.Holidays = slices.Clone(p.Holidays)
		table[model] = p
	}
	return table
}
