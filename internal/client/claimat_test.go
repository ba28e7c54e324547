package client

import "testing"

// TestClaimsWait looks at a batch whose window goes from height 100 to 180, in each block
// from the middle on, and says which looks the provider refused.
func TestClaimsWait(t *testing.T) {
	t.Parallel()
	between := func(from, to int64) func(int64) bool { return func(h int64) bool { return h >= from && h < to } }
	for _, c := range []struct {
		name    string
		began   int64 // the client
		refuses func(height int64) bool
		want    int64 // height of the claim; 0: none
	}{
		{"a provider that never gives anything", 50, between(0, 999), 160},
		{"one that is started again in the middle", 50, between(140, 155), 0},
		{"one that is started again near the end", 50, between(162, 178), 0},
		{"one that was killed near the end", 50, between(165, 999), 0},
		{"one that gives something now and then", 50, func(h int64) bool { return h%4 != 0 }, 166},
		{"one that gives something at the last moment", 50, between(0, 178), 160},
		{"a client that came in the first half", 120, between(0, 999), 160},
		{"one that was started again late asks for a while", 155, between(0, 999), 174},
		{"one that was started again at the end has hardly asked", 175, between(0, 999), 0},
	} {
		o, got := &guarded{height: 100}, int64(0)
		for h := max(c.began, o.lookAt(180)); h < 180 && got == 0; h++ {
			if !c.refuses(h) {
				o.refused = 0
			} else if o.refuse(h, 180); o.due(h, 180) {
				got = h
			}
		}
		if got != c.want {
			t.Errorf("%s: an item is claimed at height %d, want %d", c.name, got, c.want)
		}
	}
	// A laptop that slept asked for nothing meanwhile.
	o := &guarded{height: 100}
	o.refuse(141, 180)
	o.refuse(170, 180)
	if o.due(170, 180) {
		t.Error("two looks, 29 blocks apart, are enough for a claim")
	}
	o = &guarded{height: 100} // the window of a local network
	o.refuse(104, 108)
	o.refuse(105, 108)
	if !o.due(105, 108) {
		t.Error("a short window has no time for a claim")
	}
}
