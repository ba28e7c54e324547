package p2p

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// frameHead is the length prefix: four bytes, big-endian.
const frameHead = 4

// frameStep is what a length prefix alone can make a reader allocate. The
// buffer doubles only as bytes really arrive.
const frameStep = 64 << 10

// CheckFrame reports ErrFrame for a frame of n bytes that is over the bound.
func CheckFrame(n int) error {
	if n > MaxFrameBytes {
		return fmt.Errorf("%w: %d bytes, at most %d", ErrFrame, n, MaxFrameBytes)
	}
	return nil
}

// WriteFrame writes one frame with its length; over the bound it writes nothing.
func WriteFrame(w io.Writer, frame []byte) error {
	if err := CheckFrame(len(frame)); err != nil {
		return err
	}
	var head [frameHead]byte
	binary.BigEndian.PutUint32(head[:], uint32(len(frame)))
	if _, err := w.Write(head[:]); err != nil {
		return err
	}
	_, err := w.Write(frame)
	return err
}

// ReadFrame reads one frame. io.EOF means that the stream ended between frames,
// io.ErrUnexpectedEOF that it ended inside one, ErrFrame that the length is over
// the bound; after the last two the stream cannot be read further.
func ReadFrame(r io.Reader) ([]byte, error) { return ReadFrameInto(r, nil) }

// ReadFrameInto is ReadFrame into the memory of buf, as far as it reaches: a reader
// of many large frames that looks at one after the other needs no more.
func ReadFrameInto(r io.Reader, buf []byte) ([]byte, error) {
	var head [frameHead]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size > MaxFrameBytes {
		return nil, fmt.Errorf("%w: %d bytes announced, at most %d", ErrFrame, size, MaxFrameBytes)
	}
	want := int(size)
	frame := buf[:0]
	if cap(frame) == 0 {
		frame = make([]byte, 0, min(want, frameStep))
	}
	for len(frame) < want {
		if len(frame) == cap(frame) {
			frame = slices.Grow(frame, min(want-len(frame), max(len(frame), frameStep)))
		}
		have := len(frame)
		frame = frame[:min(cap(frame), want)]
		n, err := io.ReadFull(r, frame[have:])
		frame = frame[:have+n]
		if err != nil {
			return nil, unexpected(err)
		}
	}
	return frame, nil
}

// unexpected names an end inside a frame for what it is.
func unexpected(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
