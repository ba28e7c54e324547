package indexer

import (
	"reflect"
	"testing"

	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/work"
)

// TestJobRecordOfVersionOne reads what an indexer wrote that knew no commons.
func TestJobRecordOfVersionOne(t *testing.T) {
	t.Parallel()
	r := &jobRecord{Spec: work.JobSpec{Chain: "c", Client: "x", ItemCount: 3}, Chunk: wire.Chunk{Items: 7}, OnLedger: true, Since: 5}
	var e work.Encoder
	e.U8(1)
	e.ByteString(r.Spec.Encode())
	e.U64(r.Chunk.Items)
	e.U32(r.Chunk.Seconds)
	for _, b := range []bool{r.Accepted, r.OnLedger, r.Released, r.Forgotten, r.Over} {
		e.Bool(b)
	}
	e.U64(uint64(r.Since))
	e.U32(0)
	for name, raw := range map[string][]byte{"version 1": e.Bytes(), "now": r.encode()} {
		got, err := decodeJobRecord(raw)
		if err != nil || !reflect.DeepEqual(got, r) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	r.Commons = true
	if got, err := decodeJobRecord(r.encode()); err != nil || !got.Commons {
		t.Errorf("a job of the commons: %+v, %v", got, err)
	}
}

// TestOpenOps lets everybody read a job of the commons, and nobody steer it.
func TestOpenOps(t *testing.T) {
	t.Parallel()
	for _, op := range []wire.Op{wire.OpWatch, wire.OpResults, wire.OpExplain} {
		if !openOp(op) {
			t.Errorf("%s is refused", op)
		}
	}
	for _, op := range []wire.Op{wire.OpForget, wire.OpRetry, wire.OpRelease} {
		if openOp(op) {
			t.Errorf("%s is open to all", op)
		}
	}
}
