// Package iso3166 knows which codes of countries (ISO 3166-1 alpha-2) and of
// their subdivisions (ISO 3166-2) exist, so that a slip in a region is told
// where it is typed.
//
// It promises nothing about names, borders or history, and nothing of consensus
// asks it: the standard changes, and a node with an older table must not differ
// from the others.
package iso3166

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// codes holds a line a country: its code, then those of its subdivisions without
// the country's, sorted.
//
//go:embed codes.txt
var codes string

var table = sync.OnceValue(func() map[string][]string {
	m := map[string][]string{}
	for line := range strings.Lines(codes) {
		f := strings.Fields(line)
		m[f[0]] = f[1:]
	}
	return m
})

// Check reports what is wrong with a code as DE or DE-BY, and what to write
// instead.
func Check(code string) error {
	country, part, divided := strings.Cut(code, "-")
	parts, known := table()[country]
	switch {
	case !known && len(code) <= 8 && code != strings.ToUpper(code) && Check(strings.ToUpper(code)) == nil:
		return fmt.Errorf("region %q: write it in capitals, %s", code, strings.ToUpper(code))
	case !known:
		return fmt.Errorf("region %q: no country has this code in ISO 3166: write two letters as DE, or a subdivision as DE-BY", clip(code))
	case divided && !slices.Contains(parts, part) && len(parts) == 0:
		return fmt.Errorf("region %q: %s has no subdivisions in ISO 3166: write %s", clip(code), country, country)
	case divided && !slices.Contains(parts, part):
		return fmt.Errorf("region %q: no subdivision of %s has this code in ISO 3166-2: there are %s-%s to %s-%s", clip(code), country, country, parts[0], country, parts[len(parts)-1])
	}
	return nil
}

func clip(s string) string {
	if len(s) > 24 {
		return s[:24] + "…"
	}
	return s
}
