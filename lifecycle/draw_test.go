package lifecycle

import (
	"encoding/binary"
	"math/rand/v2"
	"testing"

	"github.com/gotong-network/gotong/incentive"
	"github.com/gotong-network/gotong/work"
)

func beaconOf(i uint64) work.Hash {
	return work.Sum("test", binary.BigEndian.AppendUint64(nil, i))
}

// TestStratifiedDrawsCatchAtLeastTheFormula confirms the closed form by
// simulation, with skewed items and ways to place the lies, and ρ = 20 %.
func TestStratifiedDrawsCatchAtLeastTheFormula(t *testing.T) {
	t.Parallel()
	const runs, m = 20_000, 3
	fuels := make([]work.Fuel, 40)
	nodes := make([]work.Node, len(fuels))
	b := &Batch{N: uint64(len(fuels))}
	for i := range fuels {
		fuels[i] = work.Fuel(1 + i*i)
		nodes[i].Fuel = fuels[i]
		b.Root.Fuel += fuels[i]
	}
	rng := rand.New(rand.NewPCG(1, 2))
	for name, lies := range map[string]func(int) bool{
		"head": func(i int) bool { return i < 30 },
		"tail": func(i int) bool { return i >= 36 },
		"one":  func(i int) bool { return i == 39 },
		"even": func(i int) bool { return i%2 == 0 },
		"all":  func(int) bool { return true },
	} {
		var faked work.Fuel
		for i, f := range fuels {
			if lies(i) {
				faked += f
			}
		}
		found := 0
		for run := range runs {
			for _, d := range drawPoints(b, beaconOf(uint64(run)), m) {
				if lies(int(Locate(nodes, d.Point))) && rng.IntN(5) > 0 {
					found++
					break
				}
			}
		}
		want := incentive.DetectionPermille(uint64(faked)*1000/uint64(b.Root.Fuel), m, 1, 200)
		if got := uint64(found) * 1000 / runs; got+10 < want { // three standard deviations
			t.Errorf("%s: %d permille caught, formula says %d", name, got, want)
		}
	}
}

// TestCheckersAreDrawnByBond draws many times and looks at the shares.
func TestCheckersAreDrawnByBond(t *testing.T) {
	t.Parallel()
	free := []candidate{{&Party{Account: "a"}, 100}, {&Party{Account: "b"}, 300}, {&Party{Account: "c"}, 600}}
	n := map[work.Address]int{}
	const runs = 20_000
	for i := range runs {
		n[pick(free, nil, 0, beaconOf(uint64(i))).Account]++
	}
	for _, c := range free {
		if got, want := n[c.party.Account], int(c.weight)*runs/1000; got < want-250 || got > want+250 {
			t.Errorf("%s was drawn %d times, want about %d", c.party.Account, got, want)
		}
	}
	drawn := []Check{{Checker: "a", Draws: []uint32{0}}, {Checker: "b", Draws: []uint32{0, 1}}, {Checker: "c", Draws: []uint32{1}}}
	if got := pick(free, drawn, 0, work.Hash{}); got.Account != "c" {
		t.Errorf("a checker got one draw twice: %s", got.Account)
	}
	if got := pick(free, append(drawn, Check{Checker: "a", Draws: []uint32{1}}), 1, work.Hash{}); got != nil {
		t.Errorf("nobody was left, yet %s was drawn", got.Account)
	}
}

func TestBelowStaysBelow(t *testing.T) {
	t.Parallel()
	ones := work.Hash{}
	for i := range ones {
		ones[i] = 0xff
	}
	for _, n := range []uint64{1, 2, 3, 1 << 63, 1<<64 - 1} {
		if got := below(n, ones); got != n-1 {
			t.Errorf("below(%d) of ones is %d", n, got)
		}
		if got := below(n, work.Hash{}); got != 0 {
			t.Errorf("below(%d) of zeros is %d", n, got)
		}
	}
	if stratum(1<<63, 3, 3) != 1<<63 || stratum(10, 1, 3) != 3 {
		t.Error("strata do not cover the fuel")
	}
}

func TestWaits(t *testing.T) {
	t.Parallel()
	p := LocalParams()
	for fuel, want := range map[work.Fuel]int64{0: 30, 1: 30, 7e8: 30, 8e8: 32, 8e8 + 1: 36} {
		if got := waitBlocks(30, fuel, p); got != want {
			t.Errorf("%d fuel: %d blocks, want %d", fuel, got, want)
		}
	}
	p.FuelPerBlock, p.WaitFactor = 1, maxBlocks
	if got := waitBlocks(30, 1<<63, p); got < 1 || got > 1<<50 {
		t.Errorf("the wait for absurd fuel is %d", got)
	}
}

func TestParams(t *testing.T) {
	t.Parallel()
	if err := LocalParams().Validate(); err != nil {
		t.Fatal(err)
	}
	for i, change := range []func(*Params){
		func(p *Params) { p.WindowBlocks = 0 },
		func(p *Params) { p.DrawDelayBlocks = 0 },
		func(p *Params) { p.DrawSpreadBlocks = 1 << 63 },
		func(p *Params) { p.WaitFactor = -1 },
		func(p *Params) { p.SampleEconomic = 0 },
		func(p *Params) { p.MaxFullItems = 1 << 20 },
		func(p *Params) { p.ProviderPermille = 981 },
		func(p *Params) { p.FinderPermille = 800 },
		func(p *Params) { p.MinBond = 0 },
		func(p *Params) { p.FuelPerBlock = 0 },
		func(p *Params) { p.MaxItemFuel = 1 << 60 },
		func(p *Params) { p.CheckPermille = 1 << 60 },
		func(p *Params) { p.MinPrice = 0 },
	} {
		p := LocalParams()
		change(&p)
		if p.Validate() == nil {
			t.Errorf("change %d was accepted: %+v", i, p)
		}
	}
}

func TestQuorumIsTwoThirds(t *testing.T) {
	t.Parallel()
	for total, want := range map[int64]int64{1: 1, 2: 2, 3: 2, 4: 3, 10: 7, 40: 27, 99: 66, 100: 67} {
		d := &Dispute{TotalPower: total}
		if d.quorum(want-1) || !d.quorum(want) {
			t.Errorf("of %d: want exactly %d", total, want)
		}
	}
	if (&Dispute{}).quorum(0) {
		t.Error("no validators decide")
	}
}
