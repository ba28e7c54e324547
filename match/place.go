package match

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/gotong-network/gotong/work"
)

// The reasons that a job's placement gives, applied after those of match.go.
const (
	ReasonElsewhere  Reason = "are attested to be in another jurisdiction"
	ReasonUnattested Reason = "have no attestation of where they are by an attester that the job trusts"
	ReasonIsolation  Reason = "have no attestation of the wanted isolation by an attester that the job trusts"
	ReasonCores      Reason = "have fewer cores than wanted"
	ReasonMachine    Reason = "have less memory than wanted"
	ReasonGPU        Reason = "state no such GPU"
	ReasonUnmeasured Reason = "are not connected, so their round trip is not measured yet"
	ReasonSlow       Reason = "are slower than the wanted round trip"
)

// misplaced is the first reason why c does not fit where the job may run.
func misplaced(c Candidate, r Request) Reason {
	p, h := &r.Place, &c.Offer.Hardware
	switch {
	case len(p.Jurisdictions) > 0 && !c.attested(r, work.ClaimJurisdiction, p.Accepts):
		if c.attested(r, work.ClaimJurisdiction, func(string) bool { return true }) {
			return ReasonElsewhere
		}
		return ReasonUnattested
	case p.Isolation > work.IsolationProcess && !c.attested(r, work.ClaimIsolation, func(v string) bool {
		level, err := work.ParseIsolation(v)
		return err == nil && level >= p.Isolation
	}):
		return ReasonIsolation
	case h.Cores < p.MinCores:
		return ReasonCores
	case h.MemoryBytes < p.MinMemoryBytes:
		return ReasonMachine
	case p.GPU != "" && !hasGPU(h, p.GPU):
		return ReasonGPU
	case p.MaxRTTMillis > 0 && c.RTT <= 0:
		return ReasonUnmeasured
	case p.MaxRTTMillis > 0 && c.RTT > time.Duration(p.MaxRTTMillis)*time.Millisecond:
		return ReasonSlow
	}
	return ""
}

// attested reports whether an attestation that counts for the job makes a claim
// that ok takes.
func (c *Candidate) attested(r Request, claim work.Claim, ok func(value string) bool) bool {
	return slices.ContainsFunc(c.Attested, func(a work.Attestation) bool {
		return a.Claim == claim && a.Counts(c.Offer.Peer, r.Place.Attesters, r.NowUnix) && ok(a.Value)
	})
}

func hasGPU(h *work.Hardware, want string) bool {
	return slices.ContainsFunc(h.GPUs, func(g work.GPU) bool {
		return want == "any" || strings.Contains(strings.ToLower(g.Name), strings.ToLower(want))
	})
}

// Say gives a reason in the words of the request that it was given for.
func (r Request) Say(why Reason) string {
	p := &r.Place
	switch why {
	case ReasonElsewhere:
		return "are not in " + strings.Join(p.Jurisdictions, ", ")
	case ReasonUnattested:
		return fmt.Sprintf("are not attested to be in %s by an attester that the job trusts", strings.Join(p.Jurisdictions, ", "))
	case ReasonIsolation:
		return fmt.Sprintf("are not attested to isolate by %s", p.Isolation)
	case ReasonCores:
		return fmt.Sprintf("have fewer than %d cores", p.MinCores)
	case ReasonMachine:
		return fmt.Sprintf("have less than %d MiB of memory", p.MinMemoryBytes>>20)
	case ReasonGPU:
		return fmt.Sprintf("state no GPU %q", p.GPU)
	case ReasonSlow:
		return fmt.Sprintf("are slower than %d ms", p.MaxRTTMillis)
	}
	return string(why)
}

// Explain says in one line why offers do not fit: "0 of 12 offers fit: 7 are not
// in DE, 5 are slower than 50 ms". fit is how many do.
func (r Request) Explain(fit int, excluded map[Reason]int) string {
	whys := slices.SortedFunc(maps.Keys(excluded), func(a, b Reason) int {
		return cmp.Or(cmp.Compare(excluded[b], excluded[a]), cmp.Compare(a, b))
	})
	total, parts := fit, make([]string, len(whys))
	for i, why := range whys {
		total += excluded[why]
		parts[i] = fmt.Sprintf("%d %s", excluded[why], r.Say(why))
	}
	if total == 0 {
		return "no offer is known: wait for providers, or start one"
	}
	s := fmt.Sprintf("%d of %d offers fit", fit, total)
	if len(parts) > 0 {
		s += ": " + strings.Join(parts, ", ")
	}
	return s
}

// Prefix is the network that an address belongs to, for spreading: /16 of IPv4,
// /32 of IPv6. The zero address, of peers that are reached through a relay, gives
// "", which counts as one network: nobody can tell them apart.
func Prefix(a netip.Addr) string {
	a = a.Unmap()
	bits := 32
	if a.Is4() {
		bits = 16
	}
	p, err := a.Prefix(bits)
	if err != nil || !a.IsValid() {
		return ""
	}
	return p.String()
}

// Group is takers that together may get no more than Room items on top of what
// they have.
type Group struct {
	Takers []int
	Room   uint64
}

// Cap is the largest number of n items that a part of permille allows, rounded
// up to whole items; all of them for 0.
func Cap(n uint64, permille uint32) uint64 {
	if permille == 0 || permille >= 1000 {
		return n
	}
	return n/1000*uint64(permille) + (n%1000*uint64(permille)+999)/1000
}

// Spread makes the groups of takers that have something in common: key names the
// common thing of taker i, used how many items it has had of the job, and limit is
// what all takers of one key may have had in the end.
func Spread(takers int, limit uint64, key func(i int) string, used func(key string) uint64) []Group {
	byKey := map[string]int{}
	var out []Group
	for i := range takers {
		k := key(i)
		at, ok := byKey[k]
		if !ok {
			at = len(out)
			byKey[k] = at
			out = append(out, Group{Room: limit - min(used(k), limit)})
		}
		out[at].Takers = append(out[at].Takers, i)
	}
	return out
}
