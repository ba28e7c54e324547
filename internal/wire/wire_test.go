package wire_test

import (
	"bytes"
	"errors"
	"reflect"
	"runtime"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/wire"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

func key(b byte) sign.PrivateKey { return sign.FromSeed([32]byte{b}) }

func spec() work.JobSpec {
	return work.JobSpec{Chain: "c", Client: "client", Nonce: 7, Program: work.BlobOf([]byte("p")), Profile: "gw1/1", Items: work.BlobOf([]byte("i")),
		ItemCount: 9, Limits: work.Limits{MemoryBytes: 1, Fuel: 2, OutputBytes: 3}, Tier: work.TierEconomic, MaxPrice: 4, Escrow: 5,
		Indexer: key(1).Public(), IndexerOwner: "o", MaxCopies: 2, DeadlineHeight: 6}
}

func receipt() *wire.Receipt {
	o := work.Outcome{Kind: work.Exited, Code: 3}
	out := work.Output{Stdout: work.BlobOf([]byte("hello")), Files: []work.File{{Path: "out/a", Blob: work.BlobOf([]byte("a"))}}}
	return &wire.Receipt{Job: work.Hash{1}, Attempt: 2, Provider: "prov",
		Results:  []work.Result{{Index: 5, Leaf: work.Leaf{Input: work.Hash{2}, Output: out.Digest(o), Outcome: o, Fuel: 6, Memory: work.Hash{3}}, Output: out}},
		Failures: []wire.Failure{{Items: work.RangeSet{{Lo: 1, Hi: 3}}, Refused: true, Why: "threads"}, {Items: work.RangeSet{{Lo: 8, Hi: 9}}, Unrun: true}},
		Inline:   [][]byte{[]byte("hello"), []byte("a")}}
}

// frames is one frame of each kind, with what it says.
func frames() map[string]struct {
	raw  []byte
	want wire.Frame
} {
	j := wire.Job{Spec: spec(), Holders: []p2p.Peer{{Key: key(2).Public(), Addrs: []string{"/ip4/1.2.3.4/tcp/5"}}}}
	a := wire.Assign{Assignment: work.Assignment{Chain: "c", Job: work.Hash{4}, Provider: "prov", Attempt: 1, Ranges: work.RangeSet{{Lo: 0, Hi: 9}}, Price: 3, ExpiresHeight: 8}, Chunk: 4}
	a.Assignment.Sign(key(1))
	it := wire.Items{Job: work.Hash{5}, Items: work.RangeSet{{Lo: 1, Hi: 2}, {Lo: 4, Hi: 9}}}
	held := wire.Held{Assignment: a.Assignment, Items: work.RangeSet{{Lo: 2, Hi: 5}}}
	r := receipt()
	raw := wire.EncodeReceipt(r, key(3))
	h := wire.Hello{Chain: "c", Account: "prov"}
	return map[string]struct {
		raw  []byte
		want wire.Frame
	}{
		"hello":   {wire.EncodeHello(h), wire.Frame{Hello: &h}},
		"job":     {wire.EncodeJob(j), wire.Frame{Job: &j}},
		"assign":  {wire.EncodeAssign(a), wire.Frame{Assign: &a}},
		"flush":   {wire.EncodeItems(wire.KindFlush, wire.Items{Job: work.Hash{5}}), wire.Frame{Flush: &wire.Items{Job: work.Hash{5}}}},
		"drop":    {wire.EncodeItems(wire.KindDrop, it), wire.Frame{Drop: &it}},
		"receipt": {raw, wire.Frame{Receipt: r}},
		"resume":  {wire.EncodeResume(work.Hash{5}), wire.Frame{Resume: new(work.Hash{5})}},
		"held":    {wire.EncodeHeld(held), wire.Frame{Held: &held}},
		"ping":    {wire.EncodePing(wire.KindPing, 1<<60+1), wire.Frame{Ping: new(uint64(1<<60 + 1))}},
		"pong":    {wire.EncodePing(wire.KindPong, 7), wire.Frame{Pong: new(uint64(7))}},
	}
}

func TestFramesSayWhatWasSent(t *testing.T) {
	t.Parallel()
	for name, f := range frames() {
		got, err := wire.Decode(f.raw, key(3).Public())
		if err != nil || !reflect.DeepEqual(got, f.want) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
	}
}

func TestFramesThatAreCutOrLongerAreMalformed(t *testing.T) {
	t.Parallel()
	for name, f := range frames() {
		for n := range len(f.raw) {
			if _, err := wire.Decode(f.raw[:n], key(3).Public()); err == nil {
				t.Fatalf("%s cut to %d of %d bytes was taken", name, n, len(f.raw))
			}
		}
		if _, err := wire.Decode(append(bytes.Clone(f.raw), 0), key(3).Public()); err == nil {
			t.Errorf("%s with a byte more was taken", name)
		}
	}
	if _, err := wire.Decode([]byte{99}, key(3).Public()); !errors.Is(err, work.ErrMalformed) {
		t.Errorf("unknown kind: %v", err)
	}
}

func TestReceiptIsBoundToItsSender(t *testing.T) {
	t.Parallel()
	raw := wire.EncodeReceipt(receipt(), key(3))
	if _, err := wire.Decode(raw, key(4).Public()); !errors.Is(err, sign.ErrSignature) {
		t.Errorf("receipt of another key: %v", err)
	}
	for i := 1; i < len(raw); i += 7 {
		bad := bytes.Clone(raw)
		bad[i] ^= 1
		if _, err := wire.Decode(bad, key(3).Public()); err == nil {
			t.Fatalf("a receipt with byte %d changed was taken", i)
		}
	}
}

func TestLongReasonsAreClipped(t *testing.T) {
	t.Parallel()
	r := receipt()
	r.Failures[0].Why = strings.Repeat("x", 10_000)
	f, err := wire.Decode(wire.EncodeReceipt(r, key(3)), key(3).Public())
	if err != nil || len(f.Receipt.Failures[0].Why) != 512 {
		t.Errorf("why of %d bytes, %v", len(f.Receipt.Failures[0].Why), err)
	}
}

func TestRequestsAndAnswersAreBounded(t *testing.T) {
	t.Parallel()
	q := wire.Request{Op: wire.OpAccept, Job: work.Hash{1}, Spec: []byte("spec"), Chunk: wire.Chunk{Seconds: 60}, Items: work.RangeSet{{Lo: 1, Hi: 4}},
		Holders: []p2p.Peer{{Key: key(2).Public(), Addrs: []string{"/x"}}}}
	b, err := wire.EncodeJSON(&q)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := wire.DecodeRequest(b); err != nil || !reflect.DeepEqual(*got, q) {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := wire.DecodeRequest([]byte(`{"op":"results","items":[{"lo":5,"hi":1}]}`)); !errors.Is(err, work.ErrMalformed) {
		t.Errorf("ranges that are not in form: %v", err)
	}
	many := wire.Answer{Updates: make([]wire.Update, wire.MaxUpdates+1)}
	if b, err = wire.EncodeJSON(&many); err != nil {
		t.Fatal(err)
	}
	if _, err := wire.DecodeAnswer(b); !errors.Is(err, work.ErrMalformed) {
		t.Errorf("too many updates: %v", err)
	}
	big := wire.Answer{Updates: []wire.Update{{Why: strings.Repeat("x", p2p.MaxFrameBytes)}}}
	if _, err := wire.EncodeJSON(&big); !errors.Is(err, p2p.ErrFrame) {
		t.Errorf("a message over a frame: %v", err)
	}
}

func TestOfferTopics(t *testing.T) {
	t.Parallel()
	if a, b := wire.OfferTopic("c", work.ClassCPU, ""), wire.OfferTopic("c", work.ClassCPU, "DE"); a != "gotong/offers/c/cpu/any" || b != "gotong/offers/c/cpu/DE" {
		t.Errorf("topics %q, %q", a, b)
	}
}

// FuzzDecode: strangers' frames never panic, and what is taken encodes back.
func FuzzDecode(f *testing.F) {
	for _, s := range frames() {
		f.Add(s.raw)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		// A receipt's body is reached under a true signature only.
		if len(b) > 65 && b[0] == byte(wire.KindReceipt) {
			k := key(3)
			sig := k.Sign("gotong/receipt/1", b[1:len(b)-64])
			b = append(bytes.Clone(b[:len(b)-64]), sig[:]...)
		}
		fr, err := wire.Decode(b, key(3).Public())
		if err != nil {
			return
		}
		var again []byte
		switch {
		case fr.Hello != nil:
			again = wire.EncodeHello(*fr.Hello)
		case fr.Job != nil:
			again = wire.EncodeJob(*fr.Job)
		case fr.Assign != nil:
			again = wire.EncodeAssign(*fr.Assign)
		case fr.Flush != nil:
			again = wire.EncodeItems(wire.KindFlush, *fr.Flush)
		case fr.Drop != nil:
			again = wire.EncodeItems(wire.KindDrop, *fr.Drop)
		case fr.Receipt != nil:
			again = wire.EncodeReceipt(fr.Receipt, key(3))
		case fr.Resume != nil:
			again = wire.EncodeResume(*fr.Resume)
		case fr.Held != nil:
			again = wire.EncodeHeld(*fr.Held)
		case fr.Ping != nil:
			again = wire.EncodePing(wire.KindPing, *fr.Ping)
		case fr.Pong != nil:
			again = wire.EncodePing(wire.KindPong, *fr.Pong)
		}
		if !bytes.Equal(again, b) {
			t.Errorf("% x was taken and is % x", b, again)
		}
	})
}

// A frame of JSON is small; what it says must not become large.
func TestBombsOfJSON(t *testing.T) { // not parallel: it looks at memory
	list := func(field, element string, n int) []byte {
		return []byte(`{"op":"accept","` + field + `":[` + strings.Repeat(element+",", n) + element + `]}`)
	}
	for _, bomb := range [][]byte{
		list("holders", "{}", p2p.MaxFrameBytes/4),
		list("items", "{}", p2p.MaxFrameBytes/4),
		list("items", "[]", p2p.MaxFrameBytes/4),
		list("updates", "{}", p2p.MaxFrameBytes/4),
		list("offers", `""`, p2p.MaxFrameBytes/4),
		[]byte(strings.Repeat("[", p2p.MaxFrameBytes)),
		list("holders", `{"addrs":["a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a","a"]}`, 2),
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		if _, err := wire.DecodeRequest(bomb); !errors.Is(err, work.ErrMalformed) && !bytes.Contains(bomb, []byte("updates")) && !bytes.Contains(bomb, []byte("offers")) {
			t.Errorf("%.40s… as a request: %v", bomb, err)
		}
		if _, err := wire.DecodeAnswer(bomb); err == nil && len(bomb) > 1<<20 {
			t.Errorf("%.40s… as an answer was taken", bomb)
		}
		runtime.ReadMemStats(&after)
		if grown := after.TotalAlloc - before.TotalAlloc; grown > 16<<20 {
			t.Errorf("%.40s…: %d MiB allocated", bomb, grown>>20)
		}
	}
}

// FuzzReadReceipt: a record of one's own that was damaged never panics.
func FuzzReadReceipt(f *testing.F) {
	f.Add(wire.EncodeReceipt(receipt(), key(3)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := wire.ReadReceipt(b); err == nil && len(r.Results) > wire.MaxReceiptResults {
			t.Errorf("%d results", len(r.Results))
		}
	})
}

// FuzzRequest: what clients send never panics, and has ranges in form.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"op":"watch","job":"` + strings.Repeat("ab", 32) + `"}`))
	f.Add([]byte(`{"op":"results","items":[{"lo":1,"hi":2}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := wire.DecodeRequest(b); err == nil && r.Items.Validate() != nil {
			t.Errorf("%v", r.Items)
		}
	})
}

// FuzzAnswer: what indexers send never panics.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"done":true,"counts":{"items":3},"updates":[{"index":1,"state":2}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if a, err := wire.DecodeAnswer(b); err == nil && len(a.Updates) > wire.MaxUpdates {
			t.Error("over its bound")
		}
	})
}
