package p2p

import (
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	t.Parallel()
	p, now := NewPace[string](2, 3, 4), time.Unix(1000, 0)
	took := func(k string) (n int) {
		for p.Allow(k, now) {
			n++
		}
		return n
	}
	if n := took("a"); n != 3 {
		t.Fatalf("a burst of %d, want 3", n)
	}
	if n := took("b"); n != 3 {
		t.Fatalf("another key's burst is %d, want 3", n)
	}
	now = now.Add(time.Second)
	if n := took("a"); n != 2 {
		t.Fatalf("%d after a second, want 2", n)
	}
	now = now.Add(time.Hour)
	if n := took("a"); n != 3 {
		t.Fatalf("%d after an hour, want the burst", n)
	}
	for _, k := range []string{"c", "d", "e", "f", "g", "h"} {
		p.Allow(k, now)
		if len(p.of) > 4 {
			t.Fatalf("%d keys are remembered, at most 4", len(p.of))
		}
	}
}
