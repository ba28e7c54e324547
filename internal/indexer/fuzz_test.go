package indexer

import (
	"bytes"
	"testing"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

// FuzzRecords: damaged records never panic, and what is read is what was written.
func FuzzRecords(f *testing.F) {
	e := &event{Kind: evAssign, Provider: "a", Attempt: 1, Items: set(1, 5), Chunk: 2, Price: 3, Expires: 4, Fuel: 5, Batch: work.BatchID{6}, Refused: true, Why: "w"}
	r := &jobRecord{Spec: work.JobSpec{Chain: "c"}, Chunk: wire.Chunk{Items: 3}, Accepted: true, Over: true, Since: 9, Holders: []p2p.Peer{{Addrs: []string{"/x"}}}}
	f.Add(e.encode(), true)
	f.Add(r.encode(), false)
	f.Fuzz(func(t *testing.T, b []byte, log bool) {
		if log {
			if e, err := decodeEvent(b); err == nil && !bytes.Equal(e.encode(), b) {
				t.Errorf("%+v", e)
			}
			return
		}
		if r, err := decodeJobRecord(b); err == nil && !bytes.Equal(r.encode(), b) {
			t.Errorf("%+v", r)
		}
	})
}

// Records of one provider may overlap after an item came back to it: lookups give
// each item once, the newer record's.
func TestStoredResults(t *testing.T) {
	t.Parallel()
	s, err := openStore(t.TempDir(), discard)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	put := func(attempt uint32, fuel work.Fuel, lo, hi uint64) {
		var rs []work.Result
		for i := lo; i < hi; i++ {
			rs = append(rs, work.Result{Index: i, Leaf: work.Leaf{Outcome: work.Outcome{Kind: work.Exited}, Fuel: fuel}})
		}
		for _, u := range runsOf(rs) {
			if err := s.db.Set(resultKey(work.JobID{1}, 2, u.items.Lo), u.record(attempt, u.items), nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	put(0, 1, 0, 1000)
	put(0, 2, 1500, 1600)
	put(1, 3, 400, 410)
	var got []uint64
	err = s.results(work.JobID{1}, 2, work.RangeSet{{Lo: 395, Hi: 412}, {Lo: 990, Hi: 1502}}, func(v stored) error {
		want := stored{0, work.Result{Index: v.result.Index, Leaf: work.Leaf{Outcome: work.Outcome{Kind: work.Exited}, Fuel: 1}}}
		switch i := v.result.Index; {
		case i >= 1500:
			want.result.Leaf.Fuel = 2
		case i >= 400 && i < 410:
			want.attempt, want.result.Leaf.Fuel = 1, 3
		}
		if v.attempt != want.attempt || v.result.Leaf != want.result.Leaf {
			t.Errorf("%+v, want %+v", v, want)
		}
		got = append(got, v.result.Index)
		return nil
	})
	if err != nil || len(got) != 17+10+2 || got[0] != 395 || got[len(got)-1] != 1501 {
		t.Errorf("%v, %v", got, err)
	}
}
