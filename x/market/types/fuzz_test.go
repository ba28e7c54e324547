package types

import (
	"bytes"
	"testing"

	"github.com/gotong-network/gotong/work"
)

// FuzzMessages feeds strangers' bytes through the market's messages: what decodes is
// the one form of what it says.
func FuzzMessages(f *testing.F) {
	spec := work.JobSpec{Chain: "c", Client: "a", Profile: "gw1", IndexerOwner: "b"}
	a := work.Assignment{Chain: "c", Provider: "p", Ranges: work.RangeSet{{Lo: 1, Hi: 3}}, Price: 5}
	for _, m := range []interface{ Marshal() ([]byte, error) }{
		&MsgCreateJob{Sender: "a", Spec: spec.Encode()}, &MsgCancelJob{Sender: "a", Job: make([]byte, 32)},
		&MsgReportEquivocation{Sender: "a", Job: make([]byte, 32), A: a.Encode(), B: a.Encode()},
	} {
		b, err := m.Marshal()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		var c MsgCreateJob
		if c.Unmarshal(b) == nil {
			if s, err := work.DecodeJobSpec(c.Spec); err == nil && !bytes.Equal(s.Encode(), c.Spec) {
				t.Errorf("two forms of one job: %x", c.Spec)
			}
		}
		var r MsgReportEquivocation
		if r.Unmarshal(b) == nil {
			for _, raw := range [][]byte{r.A, r.B} {
				if a, err := work.DecodeAssignment(raw); err == nil && !bytes.Equal(a.Encode(), raw) {
					t.Errorf("two forms of one assignment: %x", raw)
				}
			}
		}
	})
}
