package work

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"lukechampine.com/blake3"
)

// Hash is a BLAKE3-256 digest. Its text form is 64 lower-case hex digits.
type Hash [32]byte

// Ids are hashes of canonical bytes; each has its own domain tag.
type (
	// JobID names a job: the hash of its JobSpec.
	JobID = Hash
	// BatchID names a batch: the hash of its commit.
	BatchID = Hash
	// ProgramID names a module under a profile version: what is executed.
	ProgramID = Hash
)

// ErrHash reports text that is not 64 hex digits.
var ErrHash = errors.New("not a hash of 64 hex digits")

// String gives the 64 hex digits.
func (h Hash) String() string { return hex.EncodeToString(h[:]) }

// Short gives the first 12 hex digits, for people.
func (h Hash) Short() string { return hex.EncodeToString(h[:6]) }

// IsZero reports whether h was never set.
func (h Hash) IsZero() bool { return h == Hash{} }

// MarshalText implements encoding.TextMarshaler.
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(b []byte) error {
	v, err := ParseHash(string(b))
	if err == nil {
		*h = v
	}
	return err
}

// ParseHash reads 64 hex digits.
func ParseHash(s string) (h Hash, err error) {
	if len(s) != 2*len(h) {
		return Hash{}, fmt.Errorf("%w: %q", ErrHash, clip(s))
	}
	if _, err := hex.Decode(h[:], []byte(s)); err != nil {
		return Hash{}, fmt.Errorf("%w: %q", ErrHash, clip(s))
	}
	return h, nil
}

// Sum hashes parts under a domain tag: BLAKE3(len(tag) ‖ tag ‖ parts…). Parts
// are concatenated as they are, so a caller passes canonical bytes, or parts of
// fixed size.
func Sum(tag string, parts ...[]byte) (h Hash) {
	if len(tag) > 255 {
		panic("work: domain tag over 255 bytes")
	}
	n := 1 + len(tag)
	for _, p := range parts {
		n += len(p)
	}
	b := make([]byte, 0, n) // the hash lets it escape: no more than is needed
	b = append(append(b, byte(len(tag))), tag...)
	for _, p := range parts {
		b = append(b, p...)
	}
	return blake3.Sum256(b)
}

// BlobID names bytes by their BLAKE3 root and their size. The size is part of
// the name: a verified range is only sound against a known size. Its text form
// is ROOT:SIZE.
type BlobID struct {
	Root Hash   `json:"root"`
	Size uint64 `json:"size"`
}

// BlobOf names b.
func BlobOf(b []byte) BlobID { return BlobID{blake3.Sum256(b), uint64(len(b))} }

// String gives ROOT:SIZE.
func (b BlobID) String() string { return b.Root.String() + ":" + strconv.FormatUint(b.Size, 10) }

// IsZero reports whether b was never set. The empty blob is not zero: its root
// is the hash of nothing.
func (b BlobID) IsZero() bool { return b == BlobID{} }

// ParseBlobID reads ROOT:SIZE.
func ParseBlobID(s string) (BlobID, error) {
	root, size, ok := strings.Cut(s, ":")
	if !ok {
		return BlobID{}, fmt.Errorf("blob id %q: want ROOT:SIZE", clip(s))
	}
	h, err := ParseHash(root)
	if err != nil {
		return BlobID{}, fmt.Errorf("blob id: %w", err)
	}
	n, err := strconv.ParseUint(size, 10, 63)
	if err != nil {
		return BlobID{}, fmt.Errorf("blob id %q: size is not a number of bytes", clip(s))
	}
	return BlobID{h, n}, nil
}

// Program is the id under which everyone executes a module: the original's
// digest bound to the profile version that rewrites it.
func Program(module BlobID, profile string) ProgramID {
	e := Encoder{make([]byte, 0, 64)}
	e.Blob(module)
	e.String(profile)
	return Sum("gotong/program/1", e.Bytes())
}

// BatchIDOf names a batch by what its commit fixes.
func BatchIDOf(chain string, job JobID, provider Address, items RangeSet, root Node) BatchID {
	var e Encoder
	e.String(chain)
	e.Hash(job)
	e.String(string(provider))
	items.Encode(&e)
	e.U64(uint64(root.Fuel))
	e.Hash(root.Hash)
	return Sum("gotong/batch/1", e.Bytes())
}

// clip keeps strangers' text in an error short.
func clip(s string) string {
	if len(s) > 80 {
		return s[:77] + "..."
	}
	return s
}
