package iso3166

import (
	"slices"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/work"
)

func TestCheck(t *testing.T) {
	t.Parallel()
	for _, ok := range []string{"DE", "DE-BY", "US-CA", "ID-JK", "GB-ENG", "AQ", "FR-75C"} {
		if err := Check(ok); err != nil {
			t.Error(err)
		}
	}
	for code, want := range map[string]string{
		"":                       "no country",
		"XX":                     "no country",
		"EU":                     "no country",
		"Germany":                "no country",
		"de-by":                  "capitals, DE-BY",
		"DE-XX":                  "no subdivision of DE",
		"AQ-1":                   "write AQ",
		"DE-":                    "no subdivision",
		strings.Repeat("é", 400): "no country",
	} {
		if err := Check(code); err == nil || !strings.Contains(err.Error(), want) || len(err.Error()) > 200 {
			t.Errorf("%q: %v, want something about %q", code, err, want)
		}
	}
}

// Every code of the table has the form that package work accepts.
func TestTable(t *testing.T) {
	t.Parallel()
	parts := 0
	for country, ps := range table() {
		if err := work.CheckRegion(country); err != nil || !slices.IsSorted(ps) {
			t.Errorf("%s: %v, sorted %v", country, err, slices.IsSorted(ps))
		}
		for _, p := range ps {
			parts++
			if err := work.CheckRegion(country + "-" + p); err != nil {
				t.Error(err)
			}
		}
	}
	if len(table()) != 249 || parts < 5000 {
		t.Errorf("%d countries and %d subdivisions: the table is not whole", len(table()), parts)
	}
}
