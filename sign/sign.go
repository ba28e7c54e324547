// Package sign makes and checks the ed25519 signatures of everything that
// travels beside the chain: assignments, receipts, offers.
//
// It promises one acceptance rule everywhere, ZIP-215, which is CometBFT's: what
// a peer accepts as evidence the chain accepts too, and the other way round.
// Messages are bound to their kind by a domain tag. It never touches files or
// the accounts' own (secp256k1) keys.
package sign

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
)

// PublicKey is an ed25519 public key. Its text form is 64 hex digits.
type PublicKey [32]byte

// Signature is an ed25519 signature.
type Signature [64]byte

// PrivateKey is an ed25519 private key; it prints as nothing, so that it cannot
// end up in a log.
type PrivateKey struct{ k ed25519.PrivateKey }

// ErrSignature reports a signature that does not fit key and message.
var ErrSignature = errors.New("signature does not fit key and message")

// zip215 is CometBFT's rule.
var zip215 = &ed25519.Options{Verify: ed25519.VerifyOptionsZIP_215}

// NewKey makes a fresh key from the system's randomness.
func NewKey() (PrivateKey, error) {
	_, k, err := ed25519.GenerateKey(rand.Reader)
	return PrivateKey{k}, err
}

// FromSeed derives a key from 32 secret bytes.
func FromSeed(seed [32]byte) PrivateKey { return PrivateKey{ed25519.NewKeyFromSeed(seed[:])} }

// Seed gives the 32 secret bytes, for storage only.
func (p PrivateKey) Seed() (s [32]byte) {
	copy(s[:], p.k.Seed())
	return s
}

// IsZero reports whether p was never set.
func (p PrivateKey) IsZero() bool { return p.k == nil }

// Public is p's public key.
func (p PrivateKey) Public() (pub PublicKey) {
	copy(pub[:], p.k[32:])
	return pub
}

// String hides the key.
func (p PrivateKey) String() string { return "[private key]" }

// GoString hides the key from %#v.
func (p PrivateKey) GoString() string { return p.String() }

// Sign signs msg under tag.
func (p PrivateKey) Sign(tag string, msg []byte) (s Signature) {
	copy(s[:], ed25519.Sign(p.k, framed(tag, msg)))
	return s
}

// Verify reports ErrSignature unless s is k's signature of msg under tag.
func (k PublicKey) Verify(tag string, msg []byte, s Signature) error {
	if !ed25519.VerifyWithOptions(k[:], framed(tag, msg), s[:], zip215) {
		return ErrSignature
	}
	return nil
}

// IsZero reports whether k was never set.
func (k PublicKey) IsZero() bool { return k == PublicKey{} }

// String gives 64 hex digits.
func (k PublicKey) String() string { return hex.EncodeToString(k[:]) }

// MarshalText implements encoding.TextMarshaler.
func (k PublicKey) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (k *PublicKey) UnmarshalText(b []byte) error {
	if len(b) != 64 {
		return fmt.Errorf("public key of %d characters: want 64 hex digits", len(b))
	}
	var v PublicKey
	if _, err := hex.Decode(v[:], b); err != nil {
		return fmt.Errorf("public key: %w", err)
	}
	*k = v
	return nil
}

// MarshalText implements encoding.TextMarshaler: 128 hex digits.
func (s Signature) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(s[:])), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Signature) UnmarshalText(b []byte) error {
	if len(b) != 2*len(s) {
		return fmt.Errorf("signature of %d characters: want %d hex digits", len(b), 2*len(s))
	}
	var v Signature
	if _, err := hex.Decode(v[:], b); err != nil {
		return fmt.Errorf("signature: %w", err)
	}
	*s = v
	return nil
}

func framed(tag string, msg []byte) []byte {
	b := make([]byte, 0, 1+len(tag)+len(msg))
	b = append(append(b, byte(len(tag))), tag...)
	return append(b, msg...)
}
