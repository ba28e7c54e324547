// Package field reads the fields of messages and queries: accounts, hashes, keys.
// Its input comes from strangers; what is wrong is named in the error.
//
// It promises one text form per account: two spellings of an address are never
// two accounts.
package field

import (
	"fmt"

	"github.com/cosmos/cosmos-sdk/types/bech32"

	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
	registry "github.com/gotong-network/gotong/x/registry/types"
)

// maxAddressBytes is the SDK's own bound of an account.
const maxAddressBytes = 255

// Account reads an account in its one canonical form: lower-case bech32 of the
// chain's prefix.
func Account(s string) (work.Address, error) {
	if _, err := AccountBytes(work.Address(s)); err != nil {
		return "", err
	}
	return work.Address(s), nil
}

// AccountBytes gives the bytes of an account in its canonical form.
func AccountBytes(a work.Address) ([]byte, error) {
	prefix, b, err := bech32.DecodeAndConvert(string(a))
	if err != nil || prefix != registry.AddressPrefix || len(b) == 0 || len(b) > maxAddressBytes {
		return nil, fmt.Errorf("account %.80q: want %s1…", string(a), registry.AddressPrefix)
	}
	if want, err := bech32.ConvertAndEncode(prefix, b); err != nil || want != string(a) {
		return nil, fmt.Errorf("account %.80q: not in lower case", string(a))
	}
	return b, nil
}

// Hash reads 32 bytes; what names the field in the error.
func Hash(what string, b []byte) (h work.Hash, err error) {
	if len(b) != len(h) {
		return h, fmt.Errorf("%s of %d bytes: want %d", what, len(b), len(h))
	}
	copy(h[:], b)
	return h, nil
}

// PublicKey reads an ed25519 public key.
func PublicKey(what string, b []byte) (k sign.PublicKey, err error) {
	if len(b) != len(k) {
		return k, fmt.Errorf("%s of %d bytes: want %d", what, len(b), len(k))
	}
	copy(k[:], b)
	return k, nil
}

// Signature reads an ed25519 signature.
func Signature(what string, b []byte) (s sign.Signature, err error) {
	if len(b) != len(s) {
		return s, fmt.Errorf("%s of %d bytes: want %d", what, len(b), len(s))
	}
	copy(s[:], b)
	return s, nil
}
