// Package suggest finds the name that was meant.
package suggest

import (
	"slices"
	"strings"
)

// limitOfShort is how many slips a short name may have.
const limitOfShort = 2

// Nearest returns up to three of names that a typing slip may have turned into given, the likeliest first. A dotted name
// is also tried by its last part, so that "Frequency" finds "Producer.Flush.Frequency".
func Nearest(given string, names []string) []string {
	type match struct {
		name     string
		distance int
	}
	given = strings.ToLower(given)
	limit := min(max(limitOfShort, len(given)/4), (len(given)-1)/2) // two, for letters that changed places; less in short names
	var found []match
	for _, name := range names {
		lower := strings.ToLower(name)
		if len(given) > 2*len(lower)+limitOfShort {
			continue // too far, and a text of megabytes would take minutes
		}
		d := editDistance(given, lower)
		if last := lower[strings.LastIndexByte(lower, '.')+1:]; !strings.Contains(given, ".") && last != lower {
			d = min(d, editDistance(given, last)+1)
		}
		if d <= limit {
			found = append(found, match{name, d})
		}
	}
	slices.SortStableFunc(found, func(a, b match) int { return a.distance - b.distance })
	var out []string
	for _, m := range found[:min(3, len(found))] {
		out = append(out, m.name)
	}
	return out
}

// editDistance counts the insertions, deletions and replacements of bytes that turn a into b.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			diagonal, row[j+1] = row[j+1], min(row[j]+1, row[j+1]+1, diagonal+cost)
		}
	}
	return row[len(b)]
}
