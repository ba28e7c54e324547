package wasm

import (
	"bytes"
	"testing"

	"github.com/gotong-network/gotong/gw1"
	"github.com/gotong-network/gotong/work"
)

// A worker that was taken over may send anything; so the parent's decoders are
// fuzzed, and the worker's, which costs nothing more.

func FuzzDecodeResponse(f *testing.F) {
	ok := &response{outcome: work.Outcome{Kind: work.Exited, Code: 3}, fuel: 7, stdout: []byte("out"), files: []gw1.OutFile{{Path: "out/a", Bytes: []byte("b")}}}
	for _, r := range []*response{ok, {fault: "x"}, {refused: "y", retire: true}} {
		f.Add(frame(r.encode)[4:])
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, sizes, err := decodeResponse(b)
		if err != nil {
			return
		}
		if r.fault == "" && r.refused == "" && len(sizes) != 2+len(r.files) {
			t.Errorf("%d sizes for %d files", len(sizes), len(r.files))
		}
	})
}

func FuzzDecodeReady(f *testing.F) {
	f.Add((&ready{kind: readyRefused, text: "no"}).encode())
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := decodeReady(b); err == nil && !bytes.Equal(r.encode(), b) {
			t.Errorf("%x is not canonical", b)
		}
	})
}

func FuzzDecodeRequest(f *testing.F) {
	r := &request{began: true, fuel: 1, memory: 2, output: 3, args: []string{"a"}, stdin: input{size: 5},
		files: []input{{path: "p", size: 2, inline: true, bytes: []byte("ab")}}}
	f.Add(frame(r.encode)[4:])
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := decodeRequest(b)
		if err == nil && !bytes.Equal(frame(r.encode)[4:], b) {
			t.Errorf("%x is not canonical", b)
		}
	})
}

func FuzzDecodeModule(f *testing.F) {
	f.Add(encodeModule(&gw1.Module{Binary: []byte("binary"), Image: []byte("image"), MemoryMin: 1, MemoryMax: 2,
		GlobalFuel: "f", GlobalDepth: "d", GlobalTrap: "t", MutableGlobals: []gw1.Global{{Name: "g", Type: 0x7f}}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := decodeModule(b); err == nil && !bytes.Equal(encodeModule(m), b) {
			t.Errorf("%x is not canonical", b)
		}
	})
}
