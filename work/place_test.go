package work

import (
	"errors"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/sign"
)

func TestRegions(t *testing.T) {
	t.Parallel()
	for code, ok := range map[string]bool{"DE": true, "DE-BY": true, "FR-75C": true, "de": false, "": false, "DE-": false, "DEU": false, "DE-BYXX": false, "DE-by": false, "D3": false} {
		if err := CheckRegion(code); (err == nil) != ok {
			t.Errorf("%q: %v", code, err)
		}
	}
	for _, c := range []struct {
		code, area string
		want       bool
	}{{"DE", "DE", true}, {"DE-BY", "DE", true}, {"DE", "DE-BY", false}, {"DE-BY", "DE-BE", false}, {"DK", "DE", false}, {"DE-BY", "DE-B", false}, {"", "DE", false}} {
		if got := RegionWithin(c.code, c.area); got != c.want {
			t.Errorf("%q within %q: %v", c.code, c.area, got)
		}
	}
}

func TestPlacementValidate(t *testing.T) {
	t.Parallel()
	good := samplePlacement()
	if err := good.Validate(); err != nil || good.IsZero() {
		t.Fatal(err)
	}
	none := Placement{}
	if err := none.Validate(); err != nil || !none.IsZero() {
		t.Fatal("the zero placement must be valid: anywhere")
	}
	for want, change := range map[string]func(p *Placement){
		"sorted, each once":   func(p *Placement) { p.Jurisdictions = []string{"FR", "DE"} },
		"attesters are to be": func(p *Placement) { p.Attesters = append(p.Attesters, p.Attesters[0]) },
		"no attester":         func(p *Placement) { p.Attesters = nil },
		"ISO 3166":            func(p *Placement) { p.Jurisdictions = []string{"Bavaria"} },
		"unknown isolation":   func(p *Placement) { p.Isolation = 9 },
		"isolation machine":   func(p *Placement) { *p = Placement{Isolation: IsolationMachine} },
		"permille":            func(p *Placement) { p.MaxPerOwner = 1001 },
		"GPU in":              func(p *Placement) { p.GPU = strings.Repeat("x", 65) },
		"at most 32":          func(p *Placement) { p.Jurisdictions = make([]string, 33) },
	} {
		p := samplePlacement()
		change(&p)
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want something about %q, got %v", want, err)
		}
	}
}

// A placement is part of what the job's id names.
func TestPlacementIsInTheJobsID(t *testing.T) {
	t.Parallel()
	a, b := sampleJob(), sampleJob()
	b.Place.Jurisdictions = []string{"DE", "FR"}
	if a.ID() == b.ID() {
		t.Error("jobs of different placement have one id")
	}
}

func TestAttestationHolds(t *testing.T) {
	t.Parallel()
	subject, trusted := sampleKey().Public(), []sign.PublicKey{attesterKey().Public()}
	const now = 1_795_000_000
	for name, c := range map[string]struct {
		change  func(a *Attestation)
		resign  bool
		subject sign.PublicKey
		trusted []sign.PublicKey
		now     int64
		want    bool
	}{
		"as signed":             {want: true},
		"in its last second":    {now: 1_800_000_000, want: true},
		"expired":               {now: 1_800_000_001},
		"not yet issued":        {now: 1_789_999_999},
		"of another key":        {subject: sign.PublicKey{1}},
		"by nobody trusted":     {trusted: []sign.PublicKey{{1}}},
		"changed":               {change: func(a *Attestation) { a.Value = "SG" }},
		"of no known claim":     {change: func(a *Attestation) { a.Claim = 9 }, resign: true},
		"of no region":          {change: func(a *Attestation) { a.Value = "Java" }, resign: true},
		"of no isolation":       {change: func(a *Attestation) { a.Claim, a.Value = ClaimIsolation, "good" }, resign: true},
		"of isolation":          {change: func(a *Attestation) { a.Claim, a.Value = ClaimIsolation, "machine" }, resign: true, want: true},
		"expired before issued": {change: func(a *Attestation) { a.IssuedUnix = a.ExpiresUnix }, resign: true, now: 1_800_000_000},
	} {
		a := sampleAttestation()
		if c.change != nil {
			c.change(&a)
		}
		if c.resign {
			a.Sign(attesterKey())
		}
		if c.subject.IsZero() {
			c.subject = subject
		}
		if c.trusted == nil {
			c.trusted = trusted
		}
		if c.now == 0 {
			c.now = now
		}
		if got := a.Holds(c.subject, c.trusted, c.now); got != c.want {
			t.Errorf("%s: holds %v, want %v (%v)", name, got, c.want, a.Verify())
		}
	}
	// Who vouches for himself is no attester, even to a client that names him.
	self := Attestation{Subject: attesterKey().Public(), Claim: ClaimJurisdiction, Value: "DE", IssuedUnix: 1, ExpiresUnix: 1_800_000_000}
	self.Sign(attesterKey())
	if self.Holds(self.Subject, trusted, now) || !errors.Is(self.Verify(), ErrAttestation) {
		t.Error("a self-signed attestation counts")
	}
}

func TestOfferOfAnotherVersion(t *testing.T) {
	t.Parallel()
	b := sampleOffer().Encode()
	b[0] = 3
	if _, err := DecodeOffer(b); !errors.Is(err, ErrVersion) {
		t.Errorf("an offer of version 3: %v", err)
	}
}
