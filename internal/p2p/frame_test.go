package p2p

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"runtime"
	"testing"
)

func TestFrameRoundTrip(t *testing.T) {
	t.Parallel()
	for _, size := range []int{0, 1, frameStep - 1, frameStep, frameStep + 1, 1 << 20, MaxFrameBytes} {
		frame := bytes.Repeat([]byte{byte(size)}, size)
		var wire bytes.Buffer
		if err := WriteFrame(&wire, frame); err != nil {
			t.Fatal(err)
		}
		got, err := ReadFrame(&wire)
		if err != nil || !bytes.Equal(got, frame) {
			t.Fatalf("frame of %d bytes came back as %d bytes, %v", size, len(got), err)
		}
		if _, err := ReadFrame(&wire); err != io.EOF {
			t.Fatalf("after the last frame: %v, want EOF", err)
		}
	}
}

func TestFrameOverBound(t *testing.T) {
	t.Parallel()
	var wire bytes.Buffer
	if err := WriteFrame(&wire, make([]byte, MaxFrameBytes+1)); !errors.Is(err, ErrFrame) || wire.Len() != 0 {
		t.Fatalf("write over the bound: %v, %d bytes written", err, wire.Len())
	}
	if _, err := ReadFrame(bytes.NewReader([]byte{0xff, 0xff, 0xff, 0xff, 1})); !errors.Is(err, ErrFrame) {
		t.Fatalf("read over the bound: %v", err)
	}
}

// A stranger who only announces 8 MiB must not make us allocate 8 MiB.
func TestFrameAllocatesWhatArrives(t *testing.T) {
	var wire [frameHead + 10]byte
	binary.BigEndian.PutUint32(wire[:], MaxFrameBytes)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	const rounds = 16
	for range rounds {
		if _, err := ReadFrame(bytes.NewReader(wire[:])); err != io.ErrUnexpectedEOF {
			t.Fatalf("truncated frame: %v", err)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > rounds*4*frameStep {
		t.Fatalf("%d bytes allocated for %d truncated frames", grown, rounds)
	}
}

func FuzzReadFrame(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 2, 1})
	f.Add([]byte{0, 0, 0, 1, 7, 0, 0, 0, 1, 8})
	f.Add([]byte{0xff, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, wire []byte) {
		r := bytes.NewReader(wire)
		var again bytes.Buffer
		for {
			frame, err := ReadFrame(r)
			if err != nil {
				break
			}
			if err := WriteFrame(&again, frame); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.HasPrefix(wire, again.Bytes()) {
			t.Fatal("frames read are not the frames on the wire")
		}
	})
}
