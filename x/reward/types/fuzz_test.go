package types

import (
	"bytes"
	"testing"

	"github.com/gotong-network/gotong/work"
)

// FuzzMessages feeds strangers' bytes through the messages about the commons.
func FuzzMessages(f *testing.F) {
	spec := work.JobSpec{Chain: "c", Client: "a", Profile: "gw1", IndexerOwner: "b"}
	b, err := (&MsgApproveCommons{Authority: "a", Spec: spec.Encode()}).Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var m MsgApproveCommons
		if m.Unmarshal(b) == nil {
			if s, err := work.DecodeJobSpec(m.Spec); err == nil && !bytes.Equal(s.Encode(), m.Spec) {
				t.Errorf("two forms of one job: %x", m.Spec)
			}
		}
	})
}
