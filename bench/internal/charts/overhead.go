package charts

import (
	"fmt"
	"math"

	"github.com/breakwater-go/breakwater/bench/internal/results"
)

const (
	timeLeft   = 156.0
	memoryLeft = 382.0
	barLongest = 128.0
	barPitch   = 23.0
)

// overheadBars has CPU time and memory per call beside each other, by size of the
// request: one scale for all sizes, so that small differences look small.
func overheadBars(m results.Overhead, th theme) []byte {
	c := new(canvas)
	rows := oneCore(m)
	longest := rows[len(rows)-1]
	times, memory := advantage(longest)
	title := fmt.Sprintf("At %d KB, others take %.0f× the time, %.0f× the memory", longest.RequestBytes>>10, math.Floor(times), math.Floor(memory))
	y := heading(c, title, "What each client adds to a call, by size of the request; one core,", "answers from memory, medians of interleaved rounds.")
	c.text(timeLeft, y+14, "head", "CPU time")
	c.text(memoryLeft, y+14, "head", "memory allocated")
	y += 18
	var slowest, largest float64
	for _, row := range rows {
		for _, cost := range row.Added {
			slowest, largest = max(slowest, cost.Nanoseconds), max(largest, cost.Bytes)
		}
	}
	for _, row := range rows {
		c.text(margin, y+18, "head", fmt.Sprintf("%d KB request", row.RequestBytes>>10))
		y += 28
		for _, cost := range row.Added {
			label, class := "", "other"
			if cost.Client == "breakwater" {
				label, class = "head", "right"
			}
			c.text(margin, y+14, label, cost.Client)
			bar(c, timeLeft, y, cost.Nanoseconds/slowest, class, label, fmt.Sprintf("%.1f µs", cost.Nanoseconds/1000))
			bar(c, memoryLeft, y, cost.Bytes/largest, class, label, fmt.Sprintf("%.1f KB", cost.Bytes/1000))
			y += barPitch
		}
		y += 8
	}
	return c.render(footing(c, y, m.Source), title, "Bars for each client and size of request. Other clients copy the request for a retry; what that costs grows with the prompt.", th)
}

func bar(c *canvas, x, y, part float64, class, label, value string) {
	w := max(2, barLongest*part)
	c.rect(x, y, w, barPitch-6, 2, class)
	c.text(x+w+6, y+14, label, value)
}

func oneCore(m results.Overhead) (rows []results.OverheadRow) {
	for _, row := range m.Rows {
		if row.Cores == 1 {
			rows = append(rows, row)
		}
	}
	return rows
}

// advantage is how many times as much every other client takes, at least.
func advantage(row results.OverheadRow) (times, memory float64) {
	var mine results.Cost
	for _, cost := range row.Added {
		if cost.Client == "breakwater" {
			mine = cost
		}
	}
	times, memory = math.Inf(1), math.Inf(1)
	for _, cost := range row.Added {
		if cost.Client != "breakwater" {
			times, memory = min(times, cost.Nanoseconds/mine.Nanoseconds), min(memory, cost.Bytes/mine.Bytes)
		}
	}
	return times, memory
}
