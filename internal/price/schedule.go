package price

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// A schedule is the times of a week. The zero value covers none.
type schedule struct {
	days    uint8 // a bit for each time.Weekday
	hours   []hours
	zone    *time.Location
	without []time.Time // days that it does not cover, at midnight in UTC
}

// hours are a part of a day, in minutes since midnight: from the first up to the last.
type hours struct{ from, to int }

// example is a schedule as a user writes it.
const example = "Mon-Fri 09:00-12:00 14:00-18:00 Asia/Shanghai"

// maxSchedule bounds the parts of a schedule.
const maxSchedule = 32

// parseSchedule reads days, hours and a zone, in this order. Without days it means every day,
// without a zone UTC.
func parseSchedule(text string) (s schedule, err error) {
	parts := strings.Fields(text)
	if len(parts) > maxSchedule {
		return s, errors.New("it has too many parts")
	}
	s.zone = time.UTC
	for i, part := range parts {
		switch at := strings.IndexAny(part, "0123456789"); {
		case at == 0:
			h, err := parseHours(part)
			if err != nil {
				return s, err
			}
			s.hours = append(s.hours, h)
		case i == len(parts)-1 && len(s.hours) > 0:
			if s.zone, err = parseZone(part); err != nil {
				return s, err
			}
		case len(s.hours) > 0:
			return s, fmt.Errorf("%q is neither hours nor a zone at the end", part)
		default:
			days, err := parseDays(part)
			if err != nil {
				return s, err
			}
			s.days |= days
		}
	}
	if len(s.hours) == 0 {
		return s, errors.New("it has no hours")
	}
	if s.days == 0 {
		s.days = 1<<7 - 1
	}
	return s, nil
}

// parseDays reads a day, or the first and the last of some, such as Mon-Fri. Several may stand
// between commas.
func parseDays(text string) (days uint8, err error) {
	for part := range strings.SplitSeq(text, ",") {
		first, last, several := strings.Cut(part, "-")
		from, ok := dayOf(first)
		to := from
		if several && ok {
			to, ok = dayOf(last)
		}
		if !ok {
			return 0, fmt.Errorf("%q is no day such as Mon, and no days such as Mon-Fri", part)
		}
		for day := from; ; day = (day + 1) % 7 {
			days |= 1 << day
			if day == to {
				break
			}
		}
	}
	return days, nil
}

func dayOf(name string) (time.Weekday, bool) {
	for day := time.Sunday; day <= time.Saturday; day++ {
		if strings.EqualFold(name, day.String()) || strings.EqualFold(name, day.String()[:3]) {
			return day, true
		}
	}
	return 0, false
}

// parseHours reads hours such as 09:00-12:00. They may end at 24:00, and they may end on the next
// day.
func parseHours(text string) (h hours, err error) {
	from, to, ok := strings.Cut(text, "-")
	if ok {
		h.from, ok = minuteOf(from)
	}
	if ok {
		h.to, ok = minuteOf(to)
	}
	switch {
	case !ok || h.from == minutes:
		return h, fmt.Errorf("%q is no time such as 09:00-12:00", text)
	case h.from == h.to:
		return h, fmt.Errorf("%q ends when it begins", text)
	}
	return h, nil
}

const minutes = 24 * 60 // of a day

// minuteOf returns the minute of the day that a time such as 09:30 stands for.
func minuteOf(text string) (int, bool) {
	if text == "24:00" {
		return minutes, true
	}
	at, err := time.Parse("15:04", text)
	return at.Hour()*60 + at.Minute(), err == nil && len(text) == len("15:04")
}

// parseZone returns the zone of a name, or of an offset such as +08:00.
func parseZone(name string) (*time.Location, error) {
	if at, err := time.Parse("-07:00", name); err == nil {
		_, seconds := at.Zone()
		return time.FixedZone(name, seconds), nil
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "Local" {
		return nil, fmt.Errorf("the zone %q is not known here (a program can carry all zones with it: import _ \"time/tzdata\")", name)
	}
	return zone, nil
}

// covers reports whether a time is in the schedule. Hours that end on the next day belong to the
// day on which they begin.
func (s *schedule) covers(at time.Time) bool {
	if len(s.hours) == 0 {
		return false
	}
	at = at.In(s.zone)
	minute := at.Hour()*60 + at.Minute()
	for _, h := range s.hours {
		switch {
		case h.from < h.to:
			if h.from <= minute && minute < h.to && s.hasDay(at) {
				return true
			}
		case minute >= h.from && s.hasDay(at), minute < h.to && s.hasDay(at.AddDate(0, 0, -1)):
			return true
		}
	}
	return false
}

// hasDay reports whether the schedule covers times of a day.
func (s *schedule) hasDay(at time.Time) bool {
	if s.days&(1<<at.Weekday()) == 0 {
		return false
	}
	year, month, day := at.Date()
	for _, w := range s.without {
		if w.Year() == year && w.Month() == month && w.Day() == day {
			return false
		}
	}
	return true
}
