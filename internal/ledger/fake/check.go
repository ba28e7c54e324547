package fake

import (
	"fmt"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// recountBlocks is how often every pot is added up anew; between two recounts the
// sums are followed.
const recountBlocks = 64

// check panics unless all money is there, no more was minted for work than the
// burns allow, and every record that this block touched says what its pots hold.
func (s *store) check() {
	v, f := s.supply(), &s.flow
	if v.Total+v.FeeBurn+v.SlashBurn != f.genesis+v.Minted+v.MintedCommons {
		panic(fmt.Sprintf("fake: height %d: money is not conserved: %+v of %d", s.height, v, f.genesis))
	}
	if most, err := work.MulDiv(v.FeeBurn, s.params.MintPermille, 1000); err != nil || v.Minted > most {
		panic(fmt.Sprintf("fake: height %d: minted %s for work, the fee burn allows %s", s.height, v.Minted, most))
	}
	if pool := f.in[lifecycle.PotCommons]; pool != s.commons.Pool {
		panic(fmt.Sprintf("fake: height %d: the pool of the commons holds %s, its record says %s", s.height, pool, s.commons.Pool))
	}
	if s.commons.Emitted != v.MintedCommons {
		panic(fmt.Sprintf("fake: height %d: %s minted for the commons, their record says %s", s.height, v.MintedCommons, s.commons.Emitted))
	}
	if s.height%recountBlocks == 0 {
		var in [256]work.Amount
		for p, a := range s.pots {
			in[p.kind] += a
		}
		if in != f.in {
			panic(fmt.Sprintf("fake: height %d: the sums of the pots were followed as %v, they are %v", s.height, f.in, in))
		}
	}
	for id := range s.touchedJobs {
		s.checkJob(id)
	}
	for k := range s.touchedParties {
		s.checkParty(k)
	}
}

func (s *store) checkJob(id work.JobID) {
	j := s.jobs[id]
	free, checks := s.pots[pot{kind: lifecycle.PotEscrow, job: id}], s.pots[pot{kind: lifecycle.PotCheckEscrow, job: id}]
	if j == nil {
		if free+checks != 0 {
			panic(fmt.Sprintf("fake: height %d: job %s, which is none, has escrows of %d and %d", s.height, id, free, checks))
		}
		return // its transaction was rolled back
	}
	in := j.ToppedUp
	if !j.Commons {
		in += j.Spec.Escrow + j.Spec.CheckEscrow
	}
	if j.EscrowFree+j.EscrowLocked+j.CheckFree+j.CheckLocked+j.PaidWork+j.PaidChecks+j.Fined+j.Refunded != in ||
		j.EscrowFree+j.EscrowLocked != free || j.CheckFree+j.CheckLocked != checks {
		panic(fmt.Sprintf("fake: height %d: escrows of job %s, which hold %d and %d, do not add up: %+v", s.height, id, free, checks, j))
	}
}

func (s *store) checkParty(k lifecycle.PartyKey) {
	p := s.records[k]
	bond := s.pots[pot{kind: lifecycle.PotBond, account: k.Account, role: k.Role}]
	var unvested work.Amount
	if k.Role == lifecycle.RoleProvider {
		unvested = s.pots[pot{kind: lifecycle.PotVesting, account: k.Account}]
	}
	if p == nil {
		if bond+unvested != 0 {
			panic(fmt.Sprintf("fake: height %d: %s %s is not registered and holds %d and %d", s.height, k.Role, k.Account, bond, unvested))
		}
		return
	}
	var vesting work.Amount
	for _, t := range p.Vesting {
		vesting += t.Amount
	}
	if p.Bond != bond || p.Locked > p.Bond || p.Unvested != unvested || p.Unvested != vesting || p.Pledged > p.Unvested {
		panic(fmt.Sprintf("fake: height %d: bond and pay of %s %s, which hold %d and %d, do not add up: %+v", s.height, k.Role, k.Account, bond, unvested, p))
	}
}
