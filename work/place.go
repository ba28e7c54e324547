package work

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gotong-network/gotong/sign"
)

// Placement says where a job's items may run. Its zero value says anywhere. The
// indexer keeps to it; the chain only stores it with the job, so that everybody
// sees what was asked for.
type Placement struct {
	// Jurisdictions are ISO 3166 codes, of countries or of their subdivisions: DE
	// holds DE-BY too, not the other way round. Empty: any. They count only as
	// attested by one of Attesters.
	Jurisdictions []string         `json:"jurisdictions,omitempty"`
	Attesters     []sign.PublicKey `json:"attesters,omitempty"`  // whose word counts
	Isolation     Isolation        `json:"isolation,omitempty"`  // least that is wanted; over IsolationProcess as attested
	MaxRTTMillis  uint32           `json:"max_rtt_ms,omitempty"` // between the job's indexer and a provider, as measured; 0: any

	// Hardware, as providers state it.
	MinCores       uint32 `json:"min_cores,omitempty"`
	MinMemoryBytes uint64 `json:"min_memory_bytes,omitempty"`
	GPU            string `json:"gpu,omitempty"` // part of a GPU's name, any case; "any": any GPU; empty: none needed

	// The largest part of a job's items, in permille, that providers of one owner,
	// or seen in one network (/16 of IPv4, /32 of IPv6), may hold; 0: no bound.
	MaxPerOwner  uint32 `json:"max_per_owner_permille,omitempty"`
	MaxPerPrefix uint32 `json:"max_per_prefix_permille,omitempty"`
}

// Bounds of a Placement.
const (
	MaxJurisdictions = 32
	MaxAttesters     = 16
)

// IsZero reports whether p asks for nothing.
func (p Placement) IsZero() bool {
	return len(p.Jurisdictions) == 0 && len(p.Attesters) == 0 && p.Isolation == 0 && p.MaxRTTMillis == 0 &&
		p.MinCores == 0 && p.MinMemoryBytes == 0 && p.GPU == "" && p.MaxPerOwner == 0 && p.MaxPerPrefix == 0
}

func (p *Placement) encode(e *Encoder) {
	e.Strings(p.Jurisdictions)
	e.U32(uint32(len(p.Attesters)))
	for _, k := range p.Attesters {
		e.Raw(k[:])
	}
	e.U8(uint8(p.Isolation))
	e.U32(p.MaxRTTMillis)
	e.U32(p.MinCores)
	e.U64(p.MinMemoryBytes)
	e.String(p.GPU)
	e.U32(p.MaxPerOwner)
	e.U32(p.MaxPerPrefix)
}

func decodePlacement(d *Decoder) (p Placement) {
	p.Jurisdictions = d.Strings(MaxJurisdictions, 8)
	for range d.Count(MaxAttesters, 32) {
		var k sign.PublicKey
		copy(k[:], d.Raw(32))
		p.Attesters = append(p.Attesters, k)
	}
	p.Isolation, p.MaxRTTMillis, p.MinCores, p.MinMemoryBytes = Isolation(d.U8()), d.U32(), d.U32(), d.U64()
	p.GPU, p.MaxPerOwner, p.MaxPerPrefix = d.String(MaxHardwareText), d.U32(), d.U32()
	return p
}

// Validate reports what is wrong with p by itself. Whether a code is really in
// ISO 3166 is for the client's tools to check: the chain knows only the form.
func (p *Placement) Validate() error {
	if len(p.Jurisdictions) > MaxJurisdictions || len(p.Attesters) > MaxAttesters {
		return fmt.Errorf("placement names %d jurisdictions and %d attesters: at most %d and %d", len(p.Jurisdictions), len(p.Attesters), MaxJurisdictions, MaxAttesters)
	}
	for _, j := range p.Jurisdictions {
		if err := CheckRegion(j); err != nil {
			return fmt.Errorf("placement: %w", err)
		}
	}
	switch {
	case !ascending(p.Jurisdictions, strings.Compare):
		return errors.New("placement: jurisdictions are to be sorted, each once")
	case !ascending(p.Attesters, func(a, b sign.PublicKey) int { return slices.Compare(a[:], b[:]) }):
		return errors.New("placement: attesters are to be sorted, each once")
	case len(p.Jurisdictions) > 0 && len(p.Attesters) == 0:
		return errors.New("placement names jurisdictions and no attester: what a provider says of itself counts as nothing")
	case p.Isolation > IsolationConfidential:
		return fmt.Errorf("placement wants unknown isolation %d", uint8(p.Isolation))
	case p.Isolation > IsolationProcess && len(p.Attesters) == 0:
		return fmt.Errorf("placement wants isolation %s and names no attester: what a provider says of itself counts as nothing", p.Isolation)
	case len(p.GPU) > MaxHardwareText:
		return fmt.Errorf("placement names a GPU in %d bytes: at most %d", len(p.GPU), MaxHardwareText)
	case p.MaxPerOwner > 1000 || p.MaxPerPrefix > 1000:
		return errors.New("placement: the part of one owner or network is given in permille, at most 1000")
	}
	return nil
}

func ascending[T any](l []T, compare func(a, b T) int) bool {
	for i := 1; i < len(l); i++ {
		if compare(l[i-1], l[i]) >= 0 {
			return false
		}
	}
	return true
}

// Accepts reports whether one of the jurisdictions holds the place code.
func (p *Placement) Accepts(code string) bool {
	return len(p.Jurisdictions) == 0 || slices.ContainsFunc(p.Jurisdictions, func(j string) bool { return RegionWithin(code, j) })
}

// CheckRegion reports what is wrong with the form of an ISO 3166 code: DE, or
// DE-BY. It does not know which codes exist.
func CheckRegion(code string) error {
	country, part, divided := strings.Cut(code, "-")
	ok := len(country) == 2 && strings.IndexFunc(country, notUpper) < 0
	if divided {
		ok = ok && len(part) >= 1 && len(part) <= 3 && strings.IndexFunc(part, func(r rune) bool { return notUpper(r) && (r < '0' || r > '9') }) < 0
	}
	if !ok {
		return fmt.Errorf("region %q: want an ISO 3166 code in capitals, as DE or DE-BY", clip(code))
	}
	return nil
}

func notUpper(r rune) bool { return r < 'A' || r > 'Z' }

// RegionWithin reports whether code lies in area: the same, or a subdivision of it.
func RegionWithin(code, area string) bool {
	return code == area || len(area) == 2 && strings.HasPrefix(code, area+"-")
}

// Country is the country of an ISO 3166 code.
func Country(code string) string {
	country, _, _ := strings.Cut(code, "-")
	return country
}

// Isolation is how far items are kept apart from each other and from the
// provider's machine; each level holds those before it.
type Isolation uint8

// The levels.
const (
	IsolationNone         Isolation = iota // as a wish: any
	IsolationProcess                       // a sandboxed process of its own: what every provider of this program does
	IsolationKernel                        // a kernel of its own in user space, as gVisor
	IsolationMachine                       // a virtual machine
	IsolationConfidential                  // memory that the provider cannot read (SEV-SNP, TDX)
)

var isolationNames = [...]string{"none", "process", "kernel", "machine", "confidential"}

// String gives the level's name.
func (i Isolation) String() string {
	if int(i) < len(isolationNames) {
		return isolationNames[i]
	}
	return fmt.Sprintf("isolation %d", uint8(i))
}

// MarshalText implements encoding.TextMarshaler.
func (i Isolation) MarshalText() ([]byte, error) { return []byte(i.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (i *Isolation) UnmarshalText(b []byte) (err error) {
	*i, err = ParseIsolation(string(b))
	return err
}

// ParseIsolation reads a level's name.
func ParseIsolation(s string) (Isolation, error) {
	for i, n := range isolationNames {
		if n == s {
			return Isolation(i), nil
		}
	}
	return 0, fmt.Errorf("isolation %q: want process, kernel, machine or confidential", clip(s))
}
