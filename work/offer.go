package work

import (
	"errors"
	"fmt"
	"slices"

	"github.com/gotong-network/gotong/sign"
)

// Class is a kind of hardware that offers and prices are grouped by.
type Class string

// ClassCPU is general CPU work, the only class of the first version.
const ClassCPU Class = "cpu"

// Offer is a provider's standing, signed and expiring: what it has, where, for
// how much. All of it is the provider's own word, except what the attestations
// say by their attesters. From which address it is reached is not in it: who
// dials the provider sees that.
type Offer struct {
	Chain       string         `json:"chain"`
	Provider    Address        `json:"provider"`
	Owner       Address        `json:"owner"` // the account that posted the bond
	Peer        sign.PublicKey `json:"peer"`  // its peer key, which signs the offer
	Addrs       []string       `json:"addrs"` // multiaddrs
	Class       Class          `json:"class"`
	Region      string         `json:"region"` // ISO 3166 code, its own word; empty: unstated
	Slots       uint32         `json:"slots"`  // items that run at once
	MemoryBytes uint64         `json:"memory_bytes"`
	FuelPerSec  Fuel           `json:"fuel_per_sec"` // measured, per slot
	Price       Price          `json:"price"`
	Load        uint32         `json:"load_permille"` // busy share of the slots
	Sequence    uint64         `json:"sequence"`      // newer replaces older
	ExpiresUnix int64          `json:"expires_unix"`

	Hardware     Hardware      `json:"hardware,omitzero"`
	Attestations []Attestation `json:"attestations,omitempty"`

	Signature sign.Signature `json:"-"`
}

const (
	offerTag = "gotong/offer/2"
	// offerVersion begins an offer, so that a reader can tell an offer of another
	// version from a damaged one.
	offerVersion = 2
	// MaxOfferBytes bounds an encoded offer.
	MaxOfferBytes = 16 << 10
	// MaxAttestations bounds the attestations of one offer.
	MaxAttestations = 8
)

// ErrVersion reports an offer of another version of the protocol.
var ErrVersion = errors.New("of another version of the protocol")

func (o *Offer) body() []byte {
	var e Encoder
	e.U8(offerVersion)
	e.String(o.Chain)
	e.String(string(o.Provider))
	e.String(string(o.Owner))
	e.Raw(o.Peer[:])
	e.Strings(o.Addrs)
	e.String(string(o.Class))
	e.String(o.Region)
	e.U32(o.Slots)
	e.U64(o.MemoryBytes)
	e.U64(uint64(o.FuelPerSec))
	e.U64(uint64(o.Price))
	e.U32(o.Load)
	e.U64(o.Sequence)
	e.U64(uint64(o.ExpiresUnix))
	o.Hardware.encode(&e)
	e.U32(uint32(len(o.Attestations)))
	for i := range o.Attestations {
		o.Attestations[i].encode(&e)
	}
	return e.Bytes()
}

// Sign signs o with the provider's peer key.
func (o *Offer) Sign(k sign.PrivateKey) {
	o.Peer = k.Public()
	o.Signature = k.Sign(offerTag, o.body())
}

// Verify checks the signature; whether Peer speaks for Provider the registry
// knows. Attestations are not checked here: one that does not hold counts as none
// (see Attestation.Holds), and what is wrong with one is no reason to lose the
// offer.
func (o *Offer) Verify() error {
	if err := o.Peer.Verify(offerTag, o.body(), o.Signature); err != nil {
		return fmt.Errorf("offer of %s: %w", o.Provider, err)
	}
	return nil
}

// Encode gives body and signature.
func (o *Offer) Encode() []byte { return append(o.body(), o.Signature[:]...) }

// DecodeOffer reads what Encode wrote; the signature is not checked. ErrVersion
// if another version wrote it.
func DecodeOffer(b []byte) (*Offer, error) {
	if len(b) > MaxOfferBytes {
		return nil, fmt.Errorf("offer of %d bytes: %w", len(b), ErrMalformed)
	}
	d := NewDecoder(b)
	if v := d.U8(); d.Err() == nil && v != offerVersion {
		return nil, fmt.Errorf("offer %w (its %d, here %d): one of both is to be updated", ErrVersion, v, offerVersion)
	}
	o := &Offer{Chain: d.String(64), Provider: Address(d.String(128)), Owner: Address(d.String(128))}
	copy(o.Peer[:], d.Raw(32))
	o.Addrs, o.Class, o.Region = d.Strings(16, 256), Class(d.String(32)), d.String(16)
	o.Slots, o.MemoryBytes, o.FuelPerSec, o.Price = d.U32(), d.U64(), Fuel(d.U64()), Price(d.U64())
	o.Load, o.Sequence, o.ExpiresUnix = d.U32(), d.U64(), int64(d.U64())
	o.Hardware = decodeHardware(d)
	for range d.Count(MaxAttestations, minAttestationBytes) {
		o.Attestations = append(o.Attestations, decodeAttestation(d))
	}
	copy(o.Signature[:], d.Raw(64))
	if err := d.Done(); err != nil {
		return nil, fmt.Errorf("offer: %w", err)
	}
	return o, nil
}

// Hardware is what a provider says that its machine has. Nobody vouches for it:
// it decides who is asked, and what is paid is fuel, which is checked.
type Hardware struct {
	CPU         string   `json:"cpu,omitempty"`  // model, as the system names it
	Arch        string   `json:"arch,omitempty"` // amd64, arm64, …
	Cores       uint32   `json:"cores,omitempty"`
	Threads     uint32   `json:"threads,omitempty"`
	ISA         []string `json:"isa,omitempty"` // x86-64-v3, avx512f, neon, …
	MemoryBytes uint64   `json:"memory_bytes,omitempty"`
	DiskBytes   uint64   `json:"disk_bytes,omitempty"` // free, where work is kept
	GPUs        []GPU    `json:"gpus,omitempty"`
}

// GPU is one graphics processor.
type GPU struct {
	Name        string `json:"name"` // from the driver, or unknown:VENDOR:DEVICE of its PCI id
	MemoryBytes uint64 `json:"memory_bytes,omitempty"`
	Driver      string `json:"driver,omitempty"` // name and version
}

// Bounds of Hardware.
const (
	MaxHardwareText = 64 // bytes of each name
	MaxISA          = 16
	MaxGPUs         = 16
)

func (h *Hardware) encode(e *Encoder) {
	e.String(h.CPU)
	e.String(h.Arch)
	e.U32(h.Cores)
	e.U32(h.Threads)
	e.Strings(h.ISA)
	e.U64(h.MemoryBytes)
	e.U64(h.DiskBytes)
	e.U32(uint32(len(h.GPUs)))
	for _, g := range h.GPUs {
		e.String(g.Name)
		e.U64(g.MemoryBytes)
		e.String(g.Driver)
	}
}

func decodeHardware(d *Decoder) Hardware {
	h := Hardware{CPU: d.String(MaxHardwareText), Arch: d.String(MaxHardwareText), Cores: d.U32(), Threads: d.U32(),
		ISA: d.Strings(MaxISA, MaxHardwareText), MemoryBytes: d.U64(), DiskBytes: d.U64()}
	for range d.Count(MaxGPUs, 16) {
		h.GPUs = append(h.GPUs, GPU{Name: d.String(MaxHardwareText), MemoryBytes: d.U64(), Driver: d.String(MaxHardwareText)})
	}
	return h
}

// Claim is what an attestation is about.
type Claim uint8

// The claims.
const (
	ClaimJurisdiction Claim = iota + 1 // Value is an ISO 3166 code
	ClaimIsolation                     // Value is the name of an Isolation
)

var claimNames = [...]string{"", "jurisdiction", "isolation"}

// String gives the claim's name.
func (c Claim) String() string {
	if c > 0 && int(c) < len(claimNames) {
		return claimNames[c]
	}
	return fmt.Sprintf("claim %d", uint8(c))
}

// MarshalText implements encoding.TextMarshaler.
func (c Claim) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (c *Claim) UnmarshalText(b []byte) error {
	for k, n := range claimNames {
		if k > 0 && n == string(b) {
			*c = Claim(k)
			return nil
		}
	}
	return fmt.Errorf("claim %q: want jurisdiction or isolation", clip(string(b)))
}

// Attestation is an attester's signed, expiring word about a provider's peer
// key. It is worth what the client that names the attester thinks of it.
type Attestation struct {
	Attester    sign.PublicKey `json:"attester"`
	Subject     sign.PublicKey `json:"subject"` // the provider's peer key
	Claim       Claim          `json:"claim"`
	Value       string         `json:"value"`
	IssuedUnix  int64          `json:"issued_unix"`
	ExpiresUnix int64          `json:"expires_unix"` // last second in which it holds

	Signature sign.Signature `json:"signature"`
}

const (
	attestationTag = "gotong/attestation/1"
	// maxAttestedValue bounds the value of an attestation.
	maxAttestedValue    = 32
	minAttestationBytes = 32 + 32 + 1 + 4 + 8 + 8 + 64
)

func (a *Attestation) body() []byte {
	var e Encoder
	a.encodeBody(&e)
	return e.Bytes()
}

func (a *Attestation) encodeBody(e *Encoder) {
	e.Raw(a.Attester[:])
	e.Raw(a.Subject[:])
	e.U8(uint8(a.Claim))
	e.String(a.Value)
	e.U64(uint64(a.IssuedUnix))
	e.U64(uint64(a.ExpiresUnix))
}

func (a *Attestation) encode(e *Encoder) {
	a.encodeBody(e)
	e.Raw(a.Signature[:])
}

// Encode gives the canonical bytes with the signature.
func (a *Attestation) Encode() []byte { return append(a.body(), a.Signature[:]...) }

// DecodeAttestation reads what Encode wrote; the signature is not checked.
func DecodeAttestation(b []byte) (*Attestation, error) {
	d := NewDecoder(b)
	a := decodeAttestation(d)
	if err := d.Done(); err != nil {
		return nil, fmt.Errorf("attestation: %w", err)
	}
	return &a, nil
}

func decodeAttestation(d *Decoder) (a Attestation) {
	copy(a.Attester[:], d.Raw(32))
	copy(a.Subject[:], d.Raw(32))
	a.Claim, a.Value, a.IssuedUnix, a.ExpiresUnix = Claim(d.U8()), d.String(maxAttestedValue), int64(d.U64()), int64(d.U64())
	copy(a.Signature[:], d.Raw(64))
	return a
}

// Sign signs a with the attester's key.
func (a *Attestation) Sign(k sign.PrivateKey) {
	a.Attester = k.Public()
	a.Signature = k.Sign(attestationTag, a.body())
}

// ErrAttestation reports an attestation that counts as none.
var ErrAttestation = errors.New("attestation counts as none")

// Verify checks form and signature, not the time: ErrAttestation says what is
// wrong. A statement about the attester's own key counts as none.
func (a *Attestation) Verify() error {
	switch {
	case a.Attester == a.Subject:
		return fmt.Errorf("%w: it is signed by the key that it speaks of", ErrAttestation)
	case a.IssuedUnix >= a.ExpiresUnix:
		return fmt.Errorf("%w: it expires before it is issued", ErrAttestation)
	case a.Claim == ClaimJurisdiction && CheckRegion(a.Value) != nil:
		return fmt.Errorf("%w: %w", ErrAttestation, CheckRegion(a.Value))
	}
	if a.Claim == ClaimIsolation {
		if _, err := ParseIsolation(a.Value); err != nil {
			return fmt.Errorf("%w: %w", ErrAttestation, err)
		}
	} else if a.Claim != ClaimJurisdiction {
		return fmt.Errorf("%w: it makes an unknown claim (%d)", ErrAttestation, uint8(a.Claim))
	}
	if err := a.Attester.Verify(attestationTag, a.body(), a.Signature); err != nil {
		return fmt.Errorf("%w: %w", ErrAttestation, err)
	}
	return nil
}

// Holds reports whether a is valid and counts, see Verify and Counts.
func (a *Attestation) Holds(subject sign.PublicKey, trusted []sign.PublicKey, nowUnix int64) bool {
	return a.Counts(subject, trusted, nowUnix) && a.Verify() == nil
}

// Counts reports whether a, whose Verify gave nil before, counts now, of the
// provider with that peer key, for a client that trusts those attesters.
func (a *Attestation) Counts(subject sign.PublicKey, trusted []sign.PublicKey, nowUnix int64) bool {
	return a.Subject == subject && a.IssuedUnix <= nowUnix && nowUnix <= a.ExpiresUnix && slices.Contains(trusted, a.Attester)
}

// Attested are the offer's attestations whose Verify gives nil.
func (o *Offer) Attested() []Attestation {
	var out []Attestation
	for i := range o.Attestations {
		if o.Attestations[i].Verify() == nil {
			out = append(out, o.Attestations[i])
		}
	}
	return out
}
