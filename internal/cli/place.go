package cli

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/gotong-network/gotong/internal/iso3166"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// placeOptions are the flags that say where a job may run.
type placeOptions struct {
	regions   []string
	attesters []string
	isolation string
	maxRTT    time.Duration
	minCores  uint32
	minMemory byteSize
	gpu       string
	perOwner  string
	perPrefix string
}

func (o *placeOptions) addFlags(f *pflag.FlagSet) {
	f.StringSliceVar(&o.regions, "region", nil, "only where one of these ISO 3166 codes is attested, as DE,FR or DE-BY (needs --attester)")
	f.StringSliceVar(&o.attesters, "attester", nil, "key of an attester whose word about providers counts (repeatable)")
	f.StringVar(&o.isolation, "isolation", "", "least isolation of items: process, kernel, machine, confidential (over process: needs --attester)")
	f.DurationVar(&o.maxRTT, "max-rtt", 0, "longest round trip between the job's indexer and a provider, as 50ms")
	f.Uint32Var(&o.minCores, "min-cores", 0, "cores that a provider's machine must have")
	f.Var(&o.minMemory, "min-memory", "memory that a provider's machine must have, as 8GiB")
	f.StringVar(&o.gpu, "gpu", "", "part of the name of a GPU that a provider's machine must have; any: any GPU")
	f.StringVar(&o.perOwner, "max-per-owner", "", "largest part of the items that providers of one owner hold, as 25%")
	f.StringVar(&o.perPrefix, "max-per-prefix", "", "largest part of the items that providers of one network (/16, IPv6 /32) hold, as 25%")
}

// placement reads the flags.
func (o *placeOptions) placement() (p work.Placement, err error) {
	for _, r := range o.regions {
		r = strings.TrimSpace(r)
		if err := iso3166.Check(r); err != nil {
			return p, usagef("--region: %w", err)
		}
		p.Jurisdictions = append(p.Jurisdictions, r)
	}
	for _, a := range o.attesters {
		k, err := parseAttester(a)
		if err != nil {
			return p, err
		}
		p.Attesters = append(p.Attesters, k)
	}
	slices.Sort(p.Jurisdictions)
	p.Jurisdictions = slices.Compact(p.Jurisdictions)
	slices.SortFunc(p.Attesters, func(a, b sign.PublicKey) int { return slices.Compare(a[:], b[:]) })
	p.Attesters = slices.Compact(p.Attesters)
	if o.isolation != "" {
		if p.Isolation, err = work.ParseIsolation(o.isolation); err != nil {
			return p, usagef("--isolation: %w", err)
		}
	}
	switch {
	case len(p.Jurisdictions) > 0 && len(p.Attesters) == 0:
		return p, usagef("--region %s needs --attester KEY: what a provider says of itself counts as nothing; ask the network's operator, or whoever you trust, for the key they attest with", strings.Join(p.Jurisdictions, ","))
	case p.Isolation > work.IsolationProcess && len(p.Attesters) == 0:
		return p, usagef("--isolation %s needs --attester KEY: what a provider says of itself counts as nothing", p.Isolation)
	case len(p.Attesters) > 0 && len(p.Jurisdictions) == 0 && p.Isolation <= work.IsolationProcess:
		return p, usagef("--attester says whose word counts about --region or --isolation: give one of them")
	case o.maxRTT < 0 || o.maxRTT > 0 && o.maxRTT < time.Millisecond || o.maxRTT > time.Hour:
		return p, usagef("--max-rtt %s: want 1ms to 1h", o.maxRTT)
	}
	p.MaxRTTMillis, p.MinCores, p.MinMemoryBytes, p.GPU = uint32(o.maxRTT/time.Millisecond), o.minCores, uint64(o.minMemory), o.gpu
	if p.MaxPerOwner, err = parsePart("--max-per-owner", o.perOwner); err != nil {
		return p, err
	}
	if p.MaxPerPrefix, err = parsePart("--max-per-prefix", o.perPrefix); err != nil {
		return p, err
	}
	if err := p.Validate(); err != nil {
		return p, usageError{err}
	}
	return p, nil
}

func parseAttester(s string) (k sign.PublicKey, err error) {
	if err := k.UnmarshalText([]byte(strings.TrimSpace(s))); err != nil {
		return k, usagef("--attester %q: %w (`gotong attest key` prints an attester's)", clip(s, 70), err)
	}
	return k, nil
}

// parsePart reads a part as 25% or 2.5%, in permille; 0 if it is not given.
func parsePart(flag, s string) (uint32, error) {
	if s == "" {
		return 0, nil
	}
	number, ok := strings.CutSuffix(s, "%")
	v, err := strconv.ParseFloat(number, 64)
	if !ok || err != nil || !(v >= 0.1 && v <= 100) {
		return 0, usagef("%s %q: %w", flag, clip(s, 20), errors.New("write a part of the items, as 25% (0.1% to 100%)"))
	}
	return uint32(v*10 + 0.5), nil
}
