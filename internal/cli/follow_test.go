package cli

import (
	"errors"
	"testing"

	"github.com/gotong-network/gotong/internal/client"
	"github.com/gotong-network/gotong/internal/wire"
)

// TestProgressLine holds that a line never says that nothing is done when nothing is
// known.
func TestProgressLine(t *testing.T) {
	t.Parallel()
	gone := errors.New("no route")
	for _, c := range []struct {
		p    client.Progress
		want string
	}{
		{client.Progress{Items: 9}, "0 of 9 done, 0 verified, 0ugtg spent"},
		{client.Progress{Items: 9, Lost: gone}, "9 items · the indexer cannot be reached; trying again"},
		{client.Progress{Items: 9, Verified: 2, Lost: gone}, "2 of 9 done, 2 verified, 0ugtg spent · the indexer cannot be reached; trying again"},
		{client.Progress{Items: 9, Failed: 1, Lost: gone}, "0 of 9 done, 0 verified, 0ugtg spent, 1 failed · the indexer cannot be reached; trying again"},
		{client.Progress{Items: 9, Verified: 2, Counts: wire.Counts{Provisional: 5, Verified: 3, Spent: 7, EtaSeconds: 61}}, "8 of 9 done, 2 verified, 7ugtg spent, about 1m1s left"},
	} {
		if got := (&jobShow{last: c.p}).line(); got != c.want {
			t.Errorf("%+v: %q, want %q", c.p, got, c.want)
		}
	}
}
