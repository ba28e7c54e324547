package app_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cosmos/gogoproto/proto"

	"cosmossdk.io/log/v2"

	"github.com/gotong-network/gotong/app"
	"github.com/gotong-network/gotong/app/apptest"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
	prooftypes "github.com/gotong-network/gotong/x/proof/types"
	registrytypes "github.com/gotong-network/gotong/x/registry/types"
	rewardtypes "github.com/gotong-network/gotong/x/reward/types"
)

// The size of the simulation; make sim-long sets them. A seed that failed fails
// again with the same sizes.
var (
	simBlocks = flag.Int("sim.blocks", 60, "blocks of the simulation")
	simOps    = flag.Int("sim.ops", 25, "random operations in each block")
	simSeed   = flag.Uint64("sim.seed", 1, "seed of the simulation")
	simSeeds  = flag.Uint64("sim.seeds", 1, "how many seeds from it on are run")
)

const (
	simChain      = "gotong-sim"
	simAccounts   = 16
	simValidators = 4 // the first accounts operate them
	gtg           = work.UgtgPerGtg
	panicked      = 111222 // the SDK's code of a message that panicked
)

// TestSimulation sends random operations of all modules, sensible and senseless, to
// the real application. After each block money is conserved to the last coin, no
// more was minted than allowed, no message panicked, no record is stuck, the events
// are those of the digest; the same
// seed gives the same state; and the exported state goes on in another application.
func TestSimulation(t *testing.T) {
	t.Parallel()
	for seed := *simSeed; seed < *simSeed+*simSeeds; seed++ {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			s := newSim(t, seed)
			s.run(*simBlocks, *simOps)
			if *simBlocks <= 100 {
				again := newSim(t, seed)
				again.run(*simBlocks, *simOps)
				if !bytes.Equal(s.hash, again.hash) {
					t.Errorf("seed %d gave state %X, then %X", seed, s.hash, again.hash)
				}
			}
			s.coverage()
			if err := s.chain.Fork(); err != nil {
				t.Fatalf("seed %d: the state of height %d cannot be exported and imported: %v", seed, s.chain.Height(), err)
			}
			s.block(0, func() {})
			s.audit()
			s.run(10, *simOps)
			s.audit()
			t.Logf("seed %d: %d blocks, state %X; messages done %v; refused %v; batches %v: %v", seed, s.chain.Height(), s.hash, s.done, s.refused, s.ended, s.whys)
		})
	}
}

// sim is one run.
type sim struct {
	t      *testing.T
	seed   uint64
	rng    *rand.Rand
	chain  *apptest.Chain
	hash   []byte
	params lifecycle.Params

	accounts []work.Address
	jobs     []*simJob
	batches  []*simBatch                       // not ended
	records  map[work.BatchID]*lifecycle.Batch // as read in this block
	commons  *lifecycle.Commons
	sent     []string // kinds of the messages in the block being made
	nonce    uint64
	proposed uint64    // about
	events   work.Hash // digest
	emitted  int

	done, refused map[string]int
	ended         map[lifecycle.Phase]int
	seen          map[lifecycle.Phase]int
	whys          map[string]int
	late          map[int64]bool // heights that were decided after a skipped turn
	redraws       int
}

func newSim(t *testing.T, seed uint64) *sim {
	s := &sim{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), done: map[string]int{}, refused: map[string]int{},
		ended: map[lifecycle.Phase]int{}, seen: map[lifecycle.Phase]int{}, whys: map[string]int{}, late: map[int64]bool{}}
	p := lifecycle.LocalParams()
	p.OpenBlocks, p.CheckBlocks, p.RevealBlocks, p.VoteBlocks, p.WindowBlocks = 10, 10, 10, 10, 5
	p.TakeoverIdleBlocks, p.TakeoverAnswerBlocks = 5, 3
	p.UnbondBlocks, p.ClosingBlocks, p.GovernanceBlocks, p.CommonsEpochBlocks = 20, 20, 10, 8
	p.FuelPerBlock, p.LookPermille, p.VestBlocks, p.ConvictionBlocks, p.MaxDisputes = 1e10, 300, 24, 200, 3
	g := app.GenesisConfig{Chain: simChain, Params: p, Governance: app.Governance{Voting: 5e9, Deposit: 10 * gtg}}
	c := apptest.Config{Seed: seed, Log: ears{log.NewNopLogger(), s}}
	for i := range byte(simAccounts) {
		a := apptest.Address(secret(i))
		s.accounts = append(s.accounts, a)
		g.Accounts = append(g.Accounts, app.Account{Address: a, Balance: 50_000 * gtg})
		if i < simValidators {
			c.Validators = append(c.Validators, apptest.Validator{Operator: a, Stake: work.Amount(40-i*5) * gtg})
		}
	}
	c.Genesis = g
	chain, err := apptest.New(c)
	if err != nil {
		t.Fatal(err)
	}
	s.chain = chain
	for i := range byte(simAccounts) {
		chain.AddKey(secret(i))
	}
	s.block(0, func() {}) // a chain that begins has no state to ask
	s.block(1, s.prelude)
	return s
}

func secret(i byte) [32]byte { return [32]byte{30: 7, 31: i + 1} }

func (s *sim) run(blocks, ops int) {
	for range blocks {
		s.block(ops, s.operate)
		if s.chain.Height()%25 == 0 {
			s.audit()
		}
	}
}

// block makes a block of operations and looks at it.
func (s *sim) block(ops int, operate func()) {
	s.t.Helper()
	s.sent, s.records = nil, map[work.BatchID]*lifecycle.Batch{}
	if ops > 0 {
		s.read()
	}
	for range ops {
		operate()
	}
	if s.rng.IntN(12) == 0 {
		s.late[s.chain.Height()] = true
		s.chain.SkipTurn()
	}
	b, err := s.chain.Advance()
	if err != nil {
		s.fatal("%v", err)
	}
	s.hash = b.Hash
	s.digest(b)
	for i, r := range b.Results {
		switch {
		case r.Code == 0:
			s.done[s.sent[i]]++
		case r.Code == panicked:
			s.fatal("%s: %s", s.sent[i], r.Log)
		default:
			s.refused[s.sent[i]]++
		}
	}
}

// digest holds the block's events, in the order in which a reader of its results
// finds them, against the digest of the state.
func (s *sim) digest(b apptest.Block) {
	s.t.Helper()
	add := func(events []abci.Event) {
		for _, e := range events {
			if e.Type == prooftypes.EventType {
				s.events = prooftypes.NextDigest(s.events, b.Height, []byte(e.Attributes[0].Value))
				s.emitted++
			}
		}
	}
	for _, r := range b.Results {
		if r.Code == 0 {
			add(r.Events)
		}
	}
	add(b.Events)
	s.events = prooftypes.CloseDigest(s.events, b.Height, b.Time)
	got, err := s.chain.Read(prooftypes.ModuleName, prooftypes.DigestKey(b.Height))
	if err != nil || !bytes.Equal(got, s.events[:]) {
		s.fatal("the digest of %d events is %X, the events give %s: %v", s.emitted, got, s.events, err)
	}
}

func (s *sim) fatal(format string, args ...any) {
	s.t.Helper()
	s.t.Fatalf("seed %d, height %d: %s", s.seed, s.chain.Height(), fmt.Sprintf(format, args...))
}

// query asks the chain; what the driver asks is there.
func (s *sim) query(path string, req, res proto.Message) {
	s.t.Helper()
	if err := s.chain.Query(path, req, res); err != nil {
		s.fatal("%s: %v", path, err)
	}
}

func (s *sim) decode(b []byte, v any) {
	s.t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		s.fatal("%T: %v", v, err)
	}
}

// sweepBlocks is how often all batches that have not ended are looked at.
const sweepBlocks = 5

// read learns what may have changed.
func (s *sim) read() {
	s.t.Helper()
	var p prooftypes.QueryParamsResponse
	s.query("/gotong.proof.v1.Query/Params", &prooftypes.QueryParamsRequest{}, &p)
	s.params = lifecycle.Params{}
	s.decode(p.Params, &s.params)
	var c rewardtypes.QueryCommonsResponse
	s.query("/gotong.reward.v1.Query/Commons", &rewardtypes.QueryCommonsRequest{}, &c)
	s.commons = &lifecycle.Commons{}
	s.decode(c.Commons, s.commons)
	if s.chain.Height()%sweepBlocks == 0 {
		s.sweep()
	}
}

// record is a batch at the last block, nil if there was none.
func (s *sim) record(id work.BatchID) *lifecycle.Batch {
	s.t.Helper()
	if b, ok := s.records[id]; ok {
		return b
	}
	s.records[id] = nil // not yet committed, or refused
	var res prooftypes.QueryBatchResponse
	if err := s.chain.Query("/gotong.proof.v1.Query/Batch", &prooftypes.QueryBatchRequest{Batch: id[:]}, &res); err == nil {
		b := &lifecycle.Batch{}
		s.decode(res.Batch, b)
		s.records[id] = b
		s.seen[b.Phase]++
		s.redraws += int(b.Redraws)
		if len(b.Draws) > 0 && s.late[b.DrawHeight] {
			s.fatal("batch %s was drawn by the beacon of %d, which came after a skipped turn", b.ID.Short(), b.DrawHeight)
		}
	}
	return s.records[id]
}

// sweep forgets the batches that have ended or were refused, and sees that none is
// stuck.
func (s *sim) sweep() {
	s.t.Helper()
	s.batches = slices.DeleteFunc(s.batches, func(r *simBatch) bool {
		b := s.record(r.id)
		if b == nil {
			return true
		}
		if b.Phase.Final() {
			s.ended[b.Phase]++
			s.whys[b.Why]++
			return true
		}
		if b.Deadline != 0 && b.Deadline <= s.chain.Height() {
			s.fatal("batch %s is %s beyond its deadline %d", b.ID, b.Phase, b.Deadline)
		}
		if r.idle++; b.Deadline != 0 || b.Phase == lifecycle.Queued || s.waits(b) {
			r.idle = 0
		} else if r.idle > 2 {
			s.fatal("batch %s is %s and waits for nobody", b.ID, b.Phase)
		}
		return false
	})
}

// waits reports whether an older batch of the provider is undecided: b is not paid
// before it.
func (s *sim) waits(b *lifecycle.Batch) bool {
	var res registrytypes.QueryPartyResponse
	s.query("/gotong.registry.v1.Query/Party", &registrytypes.QueryPartyRequest{Role: uint32(lifecycle.RoleProvider), Account: string(b.Provider)}, &res)
	var p lifecycle.Party
	s.decode(res.Party, &p)
	return slices.ContainsFunc(p.Open, func(o lifecycle.OpenBatch) bool { return !o.Cleared && o.Height <= b.CommitHeight })
}

// audit has the chain walk over all its records.
func (s *sim) audit() {
	s.t.Helper()
	var res prooftypes.QueryConservedResponse
	s.query("/gotong.proof.v1.Query/Conserved", &prooftypes.QueryConservedRequest{}, &res)
	if !res.Conserved {
		s.fatal("%s", res.Difference)
	}
	var v prooftypes.QuerySupplyResponse
	s.query("/gotong.proof.v1.Query/Supply", &prooftypes.QuerySupplyRequest{}, &v)
	if genesis := v.Total + v.FeeBurn + v.SlashBurn - v.Minted - v.MintedCommons; genesis != simAccounts*50_000*gtg+(40+35+30+25)*gtg {
		s.fatal("the supply %+v began with %d", v, genesis)
	}
}

// coverage demands that the run met what it is for: a simulation in which everything
// is refused shows nothing.
func (s *sim) coverage() {
	if s.ended[lifecycle.Settled] == 0 {
		s.t.Errorf("no batch was settled: %v", s.ended)
	}
	if s.redraws == 0 {
		s.t.Error("no draw began anew after a skipped turn")
	}
	if *simBlocks < 500 {
		return
	}
	for phase := lifecycle.Committed; phase <= lifecycle.Void; phase++ {
		if s.seen[phase] == 0 {
			s.t.Errorf("no batch was ever %s", phase)
		}
	}
	var v prooftypes.QuerySupplyResponse
	s.query("/gotong.proof.v1.Query/Supply", &prooftypes.QuerySupplyRequest{}, &v)
	if v.Minted == 0 || v.MintedCommons == 0 || v.FeeBurn == 0 || v.SlashBurn == 0 || v.Unvested == 0 {
		s.t.Errorf("some money never moved: %+v", v)
	}
	for _, kind := range slices.Sorted(maps.Keys(s.refused)) {
		if s.done[kind] == 0 && !strings.HasPrefix(kind, "!") {
			s.t.Errorf("every %s was refused, %d of them", kind, s.refused[kind])
		}
	}
}

// ears is a log that fails the run when the chain tells that it left a record as it
// was.
type ears struct {
	log.Logger
	s *sim
}

func (e ears) With(...any) log.Logger { return e }

func (e ears) Error(message string, about ...any) {
	if strings.Contains(message, "stuck") || strings.Contains(message, "as a whole") || strings.Contains(message, "not slashed") {
		e.s.t.Errorf("seed %d: the chain says: %s %v", e.s.seed, message, about)
	}
}
