package types

import (
	"reflect"
	"testing"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

func TestRoundTrip(t *testing.T) {
	t.Parallel()
	part := lifecycle.Part{Items: work.RangeSet{{Lo: 1, Hi: 3}},
		Assignment: work.Assignment{Chain: "c", Job: work.Hash{1}, Provider: "p", Attempt: 1, Ranges: work.RangeSet{{Lo: 0, Hi: 9}}, Price: 5, ExpiresHeight: 7}}
	if got, err := ToParts(FromParts([]lifecycle.Part{part})); err != nil || !reflect.DeepEqual(got, []lifecycle.Part{part}) {
		t.Errorf("parts became %+v, %v", got, err)
	}
	opening := lifecycle.ItemOpening{Position: 3, Node: work.Node{Fuel: 4, Hash: work.Hash{5}}, Path: []work.Node{{Fuel: 6}}}
	if got, err := ToOpenings(FromOpenings([]lifecycle.ItemOpening{opening})); err != nil || !reflect.DeepEqual(got, []lifecycle.ItemOpening{opening}) {
		t.Errorf("openings became %+v, %v", got, err)
	}
	leaf := work.Leaf{Outcome: work.Outcome{Kind: work.Exited, Code: 3}, Fuel: 9}
	leaves := []work.Leaf{leaf, lifecycle.Unavailable}
	if got, err := ToLeaves(FromLeaves(leaves)); err != nil || !reflect.DeepEqual(got, leaves) {
		t.Errorf("leaves became %+v, %v", got, err)
	}
}

// FuzzMessages feeds strangers' bytes through the messages that carry most.
func FuzzMessages(f *testing.F) {
	commit := &MsgCommitBatch{Parts: FromParts([]lifecycle.Part{{Items: work.RangeSet{{Lo: 1, Hi: 3}}}}), Root: FromNode(work.Node{Fuel: 1})}
	open := &MsgOpenBatch{Openings: FromOpenings([]lifecycle.ItemOpening{{Path: []work.Node{{Fuel: 6}}}})}
	reveal := &MsgRevealBatch{Leaves: FromLeaves([]work.Leaf{{Outcome: work.Outcome{Kind: work.Exited}}})}
	evidence := &QueryEvidenceResponse{Parts: commit.Parts}
	claim, decide := &MsgClaimDelivery{Sender: "a", Batch: make([]byte, 32), Position: 1}, &MsgDecide{Authority: "a", Batch: make([]byte, 32), Uphold: true}
	for _, m := range []interface{ Marshal() ([]byte, error) }{commit, open, reveal, evidence, claim, decide} {
		b, err := m.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var c MsgCommitBatch
		if c.Unmarshal(b) == nil {
			_, _ = ToParts(c.Parts)
			_, _ = c.Root.Work()
		}
		var e QueryEvidenceResponse
		if e.Unmarshal(b) == nil {
			if parts, err := ToParts(e.Parts); err == nil {
				again, err := ToParts(FromParts(parts))
				if err != nil || !reflect.DeepEqual(parts, again) {
					t.Errorf("parts %+v became %+v, %v", parts, again, err)
				}
			}
		}
		var cd MsgClaimDelivery
		var de MsgDecide
		_, _ = cd.Unmarshal(b), de.Unmarshal(b)
		var o MsgOpenBatch
		if o.Unmarshal(b) == nil {
			_, _ = ToOpenings(o.Openings)
		}
		var a MsgAnswerChallenge
		if a.Unmarshal(b) == nil {
			_, _ = a.Opening.Lifecycle()
		}
		var r MsgRevealBatch
		if r.Unmarshal(b) == nil {
			_, _ = ToLeaves(r.Leaves)
		}
	})
}
