package home

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gotong-network/gotong/work"
)

// attestationDir holds what attesters say about this home's provider, a file each.
const attestationDir = "attestations"

// MaxAttestationBytes bounds the file of one attestation.
const MaxAttestationBytes = 64 << 10

// Attestations are those that the home keeps, oldest first; one that cannot be
// read is an error.
func (h *Home) Attestations() ([]work.Attestation, error) {
	files, err := os.ReadDir(h.Path(attestationDir))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []work.Attestation
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".json") {
			continue
		}
		b, err := os.ReadFile(h.Path(attestationDir, f.Name()))
		if err != nil {
			return nil, err
		}
		all, err := DecodeAttestations(b)
		if err != nil {
			return nil, fmt.Errorf("%s: %w: %v: remove the file, or ask its attester for another", h.Path(attestationDir, f.Name()), ErrDamaged, err)
		}
		out = append(out, all...)
	}
	slices.SortStableFunc(out, func(a, b work.Attestation) int { return int(a.IssuedUnix - b.IssuedUnix) })
	return out, nil
}

// SaveAttestation keeps an attestation, in place of one of the same attester about
// the same claim and value.
func (h *Home) SaveAttestation(a work.Attestation) error {
	if err := os.MkdirAll(h.Path(attestationDir), 0o700); err != nil {
		return err
	}
	b, err := json.MarshalIndent(a, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(h.Path(attestationDir, attestationName(a)), append(b, '\n'), 0o600)
}

// RemoveAttestation forgets an attestation.
func (h *Home) RemoveAttestation(a work.Attestation) error {
	return os.Remove(filepath.Join(h.Path(attestationDir), attestationName(a)))
}

// attestationName is the file that holds a; values are of a known form by then.
func attestationName(a work.Attestation) string {
	return fmt.Sprintf("%s-%s-%s.json", a.Attester.String()[:16], a.Claim, a.Value)
}

// DecodeAttestations reads a file of an attestation, or of a list of them. It
// checks their form and signatures, not the time.
func DecodeAttestations(b []byte) ([]work.Attestation, error) {
	if len(b) > MaxAttestationBytes {
		return nil, fmt.Errorf("%d bytes: want at most %d", len(b), MaxAttestationBytes)
	}
	var out []work.Attestation
	if err := json.Unmarshal(b, &out); err != nil {
		var one work.Attestation
		if err := json.Unmarshal(b, &one); err != nil {
			return nil, fmt.Errorf("not an attestation: %w", err)
		}
		out = []work.Attestation{one}
	}
	for i := range out {
		if err := out[i].Verify(); err != nil {
			return nil, err
		}
	}
	return out, nil
}
