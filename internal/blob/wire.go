package blob

import (
	"errors"
	"fmt"

	"github.com/gotong-network/gotong/work"
)

// The frames of p2p.ProtocolBlob, after their kind:
//
//	get     blob (root 32, size 8), offset 8, length 4; answered in order
//	offer   blobs (root 32, size 8), 1 to 1024 of them
//	data    the slice that was asked for: Bao without its head, groups of 64 KiB
//	missing nothing: the blob is not here
//	end     one status for each blob of the offer
//	have    blob (root 32, size 8): which of its groups are there; answered in order
//	has     0: nothing; 2: all; 1 and a bitmap by group, lowest bit first: these
//
// Whoever opened the stream sends gets, haves and offers. After an offer the sides
// change places: the other end gets what it wants of the offer, says end, and
// the opener goes on. Integers are big-endian. Ranges start at a multiple of
// 64 KiB, are not empty, and are at most 1 MiB.
const (
	kindGet     = 1
	kindOffer   = 2
	kindData    = 3
	kindMissing = 4
	kindEnd     = 5
	kindHave    = 6
	kindHas     = 7
)

// What a has says.
const (
	hasNone = 0
	hasSome = 1
	hasAll  = 2
)

// maxOffer is the most blobs of one offer.
const maxOffer = 1024

// status says what became of an offered blob.
type status byte

const (
	statusStored  status = 0 // it is here, now or before
	statusRefused status = 1 // by policy
	statusFull    status = 2
	statusFailed  status = 3 // it could not be had, or was not what was offered
)

// errWire reports a frame that breaks the protocol; the stream is given up.
var errWire = errors.New("peer breaks the blob protocol")

// request is a frame from whoever asks.
type request struct {
	kind  byte
	blob  work.BlobID   // get, have
	off   uint64        // get, in bytes
	n     uint64        // get, in bytes
	offer []work.BlobID // offer
	end   []status      // end
}

func encodeGet(b work.BlobID, off, n uint64) []byte {
	var e work.Encoder
	e.U8(kindGet)
	e.Blob(b)
	e.U64(off)
	e.U32(uint32(n))
	return e.Bytes()
}

func encodeHave(b work.BlobID) []byte {
	var e work.Encoder
	e.U8(kindHave)
	e.Blob(b)
	return e.Bytes()
}

func encodeHas(state byte, have bitmap) []byte {
	return append([]byte{kindHas, state}, have...)
}

// decodeHas reads the answer to a have.
func decodeHas(b work.BlobID, frame []byte) (state byte, have bitmap, err error) {
	if len(frame) < 2 || frame[0] != kindHas || frame[1] > hasAll {
		return 0, nil, fmt.Errorf("%w: no answer to a have", errWire)
	}
	state, raw := frame[1], frame[2:]
	if state != hasSome {
		if len(raw) > 0 {
			return 0, nil, fmt.Errorf("%w: %d bytes too many", errWire, len(raw))
		}
		return state, nil, nil
	}
	have, err = decodeBitmap(b, raw)
	return state, have, err
}

func encodeOffer(bs []work.BlobID) []byte {
	var e work.Encoder
	e.U8(kindOffer)
	for _, b := range bs {
		e.Blob(b)
	}
	return e.Bytes()
}

func encodeEnd(ss []status) []byte {
	frame := []byte{kindEnd}
	for _, s := range ss {
		frame = append(frame, byte(s))
	}
	return frame
}

// decodeRequest reads a get, a have, an offer or an end.
func decodeRequest(frame []byte) (r request, err error) {
	d := work.NewDecoder(frame)
	switch r.kind = d.U8(); r.kind {
	case kindGet:
		r.blob, r.off, r.n = d.Blob(), d.U64(), uint64(d.U32())
		if d.Err() == nil && !r.soundRange() {
			return r, fmt.Errorf("%w: range %d+%d of %d bytes", errWire, r.off, r.n, r.blob.Size)
		}
	case kindHave:
		r.blob = d.Blob()
	case kindOffer:
		for d.Left() > 0 && d.Err() == nil && len(r.offer) <= maxOffer {
			r.offer = append(r.offer, d.Blob())
		}
		if len(r.offer) == 0 || len(r.offer) > maxOffer {
			return r, fmt.Errorf("%w: offer of %d bytes", errWire, len(frame))
		}
	case kindEnd:
		if d.Left() > maxOffer {
			return r, fmt.Errorf("%w: end of %d bytes", errWire, len(frame))
		}
		for d.Left() > 0 {
			r.end = append(r.end, status(d.U8()))
		}
	default:
		return r, fmt.Errorf("%w: a frame of kind %d", errWire, r.kind)
	}
	if err := d.Done(); err != nil {
		return r, fmt.Errorf("%w: %v", errWire, err)
	}
	return r, nil
}

func (r request) soundRange() bool {
	return r.n > 0 && r.n <= rangeBytes && r.off%groupSize == 0 &&
		r.off < r.blob.Size && r.n <= r.blob.Size-r.off
}

// decodeReply reads the answer to a get: the slice, or ErrMissing.
func decodeReply(frame []byte) ([]byte, error) {
	switch {
	case len(frame) > 0 && frame[0] == kindData:
		return frame[1:], nil
	case len(frame) == 1 && frame[0] == kindMissing:
		return nil, ErrMissing
	}
	return nil, fmt.Errorf("%w: no answer to a get", errWire)
}
