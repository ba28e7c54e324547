package client

import "testing"

// TestClaimsWait holds when an item of a window from height 100 to 180 may be claimed.
func TestClaimsWait(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		since, want int64
	}{
		{"a client that was there before", 50, 160},
		{"one that came in the first half", 120, 160},
		{"one that was started again late asks for a while", 155, 175},
		{"one that was started again at the end still claims in time", 175, 178},
	} {
		if got := (&guarded{height: 100}).claimAt(180, c.since); got != c.want {
			t.Errorf("%s: claims from height %d, want %d", c.name, got, c.want)
		}
	}
}
