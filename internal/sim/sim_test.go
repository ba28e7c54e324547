package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/work"
)

// few is a run that takes a moment.
func few(change func(*Config)) Config {
	c := Defaults()
	c.Providers, c.Days, c.small = 600, 3, true
	if change != nil {
		change(&c)
	}
	return c
}

func run(t *testing.T, c Config) *Result {
	t.Helper()
	r, err := Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func digest(t *testing.T, r *Result) []byte {
	t.Helper()
	b, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestGroupingIsExact: a quote of its own for every batch and every batch's pay moved
// by itself give the same result as sharing and adding up.
func TestGroupingIsExact(t *testing.T) {
	t.Parallel()
	c := few(func(c *Config) {
		c.Providers, c.Days, c.CheatPermille, c.Spam, c.Freeze = 150, 2, 300, 8000, 40
		c.Params.MaxDisputes = 1
	})
	grouped := run(t, c)
	c.each = true
	if single := run(t, c); !bytes.Equal(digest(t, grouped), digest(t, single)) {
		t.Error("grouped and single batches differ in money or counts")
	}
	if n := &grouped.Total; n.Batches < 1000 || n.Convictions == 0 || n.Challenges < 100 || n.Claims == 0 || n.HeldTicks == 0 {
		t.Errorf("the run shows little: %d batches, %d convictions, %d challenges, %d claims, %d hours held", n.Batches, n.Convictions, n.Challenges, n.Claims, n.HeldTicks)
	}
}

func TestSameSeedSameResult(t *testing.T) {
	t.Parallel()
	one := run(t, few(func(c *Config) { c.Workers = 1 }))
	many := run(t, few(func(c *Config) { c.Workers = 7 }))
	other := run(t, few(func(c *Config) { c.Seed++ }))
	if !bytes.Equal(digest(t, one), digest(t, many)) {
		t.Error("the result depends on the number of workers")
	}
	if bytes.Equal(digest(t, one), digest(t, other)) {
		t.Error("another seed gives the same result")
	}
}

// TestDetectionIsTheClosedForm compares how many false batches of each kind were
// caught with incentive, at 99.9 % over all kinds together.
func TestDetectionIsTheClosedForm(t *testing.T) {
	t.Parallel()
	r := run(t, few(func(c *Config) { c.Providers, c.Days, c.CheatPermille, c.RingPermille = 4000, 4, 400, 330 }))
	const deviations = 3.9 // of a normal, two-sided, at 0.1 % over eight kinds
	for k, v := range r.Total.Kinds {
		if v.Faked == 0 {
			continue
		}
		want, sd := float64(v.ExpectE9)/1e9, math.Sqrt(float64(v.VarianceE9)/1e9)
		if math.Abs(float64(v.Caught)-want) > deviations*sd {
			t.Errorf("%s: %d of %d caught, the closed form says %.1f ± %.1f", Kind(k), v.Caught, v.Faked, want, sd)
		}
	}
	honest := r.Total.Kinds[Honest]
	if honest.Caught != 0 || r.Total.Kinds[Ring].Faked < 1000 {
		t.Errorf("%d honest batches were caught, %d of the ring were played", honest.Caught, r.Total.Kinds[Ring].Faked)
	}
}

// TestCheatsEarnLess: every kind of cheat ends below the honest providers, per unit
// of what its machines could do, and who pays himself loses.
func TestCheatsEarnLess(t *testing.T) {
	t.Parallel()
	r := run(t, few(func(c *Config) { c.Providers, c.Days, c.CheatPermille = 3000, 10, 200 }))
	honest := r.Total.Kinds[Honest].Profit()
	for k := Garbage; k < kinds; k++ {
		if got := r.Total.Kinds[k].Profit(); got >= honest {
			t.Errorf("%s made %d ugtg per 1000 work units of capacity, honest providers %d", k, got, honest)
		}
	}
	if self := r.Total.Kinds[SelfDealer]; self.Settled == 0 || uint64(self.Cost-self.Income)*100 < 3*uint64(self.Cost) {
		t.Errorf("paying itself cost %s and brought %s: less than 3 %% lost", self.Cost, self.Income)
	}
	if r.Total.Minted*2 > r.Total.FeeBurn {
		t.Errorf("%s minted for work, over half of the %s burned as fees", r.Total.Minted, r.Total.FeeBurn)
	}
	if r.Jain < 0.95 {
		t.Errorf("Jain's index of the load is %.3f", r.Jain)
	}
	if h := median(r.Total.SessionHours[:]); h >= 8 {
		t.Errorf("the median session lasts over %d h", h)
	}
	if perDay := r.Total.Batches / uint64(r.Providers*len(r.Days)); perDay < 10 {
		t.Errorf("%d batches per provider and day", perDay)
	}
}

// TestAccusers: whoever lies loses a stake each time, no honest provider is convicted,
// who has an output kept gets its money back and the keeper loses, and watchers earn
// what lies they find.
func TestAccusers(t *testing.T) {
	t.Parallel()
	r := run(t, few(func(c *Config) { c.Providers, c.Days, c.Spam = 3000, 5, 40 }))
	v := &r.Total
	if v.Challenges < 500 || v.Dismissed > 0 {
		t.Errorf("%d challenges, %d without a stake: the run shows little", v.Challenges, v.Dismissed)
	}
	if least := work.Amount(v.Challenges-v.WatchFound-v.Vultures) * r.Params.ChallengeStake; v.StakesLost[bySpammer] < least*9/10 {
		t.Errorf("spammers lost %s, their challenges stake at least %s", v.StakesLost[bySpammer], least)
	}
	if v.StakesLost[byWatcher] != 0 || v.Watched == 0 || v.WatchFound > 0 && v.WatchEarned == 0 {
		t.Errorf("watchers lost %s; they found %d lies in %d items and got %s", v.StakesLost[byWatcher], v.WatchFound, v.Watched, v.WatchEarned)
	}
	if keeper := &v.Kinds[Keeper]; v.Kept == 0 || keeper.Profit() >= v.Kinds[Honest].Profit()*95/100 {
		t.Errorf("keepers kept %d batches' outputs and made %d, honest providers %d", v.Kept, keeper.Profit(), v.Kinds[Honest].Profit())
	}
	if v.VultureHits >= v.Vultures || v.VultureHits == 0 {
		t.Errorf("%d of %d challenges of who went dark were not answered", v.VultureHits, v.Vultures)
	}
	none := run(t, few(func(c *Config) { c.Providers, c.CheatPermille, c.Spam = 2000, 0, 50 })).Total
	if none.Convictions != 0 || none.Challenges == 0 || none.FalseDisputes != none.Disputes {
		t.Errorf("without cheats %d were convicted in %d disputes, of which %d were false, after %d challenges", none.Convictions, none.Disputes, none.FalseDisputes, none.Challenges)
	}
}

// TestDisputesWait: what the referee has no time for waits, and the younger batches of
// the same providers with it; with time enough nothing waits.
func TestDisputesWait(t *testing.T) {
	t.Parallel()
	with := func(places uint32) *Result {
		return run(t, few(func(c *Config) { c.Providers, c.CheatPermille, c.Params.MaxDisputes = 3000, 150, places }))
	}
	tight, wide := with(1), with(64)
	if wide.Total.Held != 0 || wide.Days[0].CourtWait != 0 {
		t.Errorf("with 64 disputes at a time %d batches wait, and the queue is %d blocks long", wide.Total.Held, wide.Days[0].CourtWait)
	}
	if tight.Total.Held == 0 || tight.Total.HeldTicks == 0 || tight.Days[0].CourtWait == 0 {
		t.Errorf("with one dispute at a time %d batches wait %d hours, and the queue is %d blocks long", tight.Total.Held, tight.Total.HeldTicks, tight.Days[0].CourtWait)
	}
	for i := range tight.Days { // the referee works all the time while there is a queue
		d := &tight.Days[i]
		var judged uint64
		for _, n := range d.CourtWaits {
			judged += n
		}
		if d.CourtWait > 0 && judged < ticksPerDay*blocksPerTick/200 {
			t.Errorf("day %d: only %d disputes were judged of a queue", i+1, judged)
		}
	}
	if late := tight.Total.PayBlocks * wide.Total.Settled; late <= wide.Total.PayBlocks*tight.Total.Settled {
		t.Error("pay does not come later because of the queue")
	}
}

// TestFreezing: a ring that contradicts the referee has programs suspended, at a
// price; a freeze ends after governance's time, by the verdict.
func TestFreezing(t *testing.T) {
	t.Parallel()
	r := run(t, few(func(c *Config) {
		c.Providers, c.Days, c.RingPermille, c.Freeze = 1000, 6, 500, 24
		c.Params.GovernanceBlocks = 2 * ticksPerDay * blocksPerTick
	}))
	v := &r.Total
	if v.FreezeTries != 6*24 || v.Freezes == 0 || v.Freezes > v.FreezeTries || v.GrainsSuspended == 0 {
		t.Errorf("%d tries, %d freezes, %d grains refused", v.FreezeTries, v.Freezes, v.GrainsSuspended)
	}
	f := &v.Kinds[Freezer]
	if least := work.Amount(f.Caught) * r.Params.MinBond; f.Lost < least || r.FreezeCost < least/3 || f.Income != 0 {
		t.Errorf("%d of %d were caught at once and lost %s; in all it cost %s", f.Caught, f.Faked, f.Lost, r.FreezeCost)
	}
	if ends := uint64(f.Lost / r.Params.MinBond); ends <= f.Caught { // every name has just its bond to lose
		t.Errorf("%d names lost their bond, %d were caught at once: no freeze ended by the verdict", ends, f.Caught)
	}
}

// TestScarcityIsDearer: over all markets of a class, where demand is larger against
// supply the price is higher.
func TestScarcityIsDearer(t *testing.T) {
	t.Parallel()
	r := run(t, few(func(c *Config) { c.Providers = 4000 }))
	for i := range classes {
		cells := r.Cells[i*len(regions):][:len(regions)]
		var up, down int
		for a := range cells {
			for b := range cells {
				scarcer := cells[a].Wanted*cells[b].Supply > cells[b].Wanted*cells[a].Supply
				if a == b || !scarcer {
					continue
				}
				if cells[a].Price >= cells[b].Price {
					up++
				} else {
					down++
				}
			}
		}
		if up < 2*down {
			t.Errorf("%s: of %d pairs of regions only in %d the scarcer one is dearer", classes[i].name, up+down, up)
		}
	}
}

func TestBadRunsAreRefused(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(*Config){
		"too few providers":  func(c *Config) { c.Providers, c.small = MinProviders-1, false },
		"too many providers": func(c *Config) { c.Providers = MaxProviders + 1 },
		"no days":            func(c *Config) { c.Days = 0 },
		"mostly cheats":      func(c *Config) { c.CheatPermille = 501 },
		"a ring of all":      func(c *Config) { c.RingPermille = 901 },
		"floods of spam":     func(c *Config) { c.Spam = maxSpam + 1 },
		"broken parameters":  func(c *Config) { c.Params.WindowBlocks = 0 },
	} {
		if _, err := Run(t.Context(), few(change)); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
	ctx, stop := context.WithCancel(t.Context())
	stop()
	if _, err := Run(ctx, few(nil)); !errors.Is(err, context.Canceled) {
		t.Errorf("a run that was interrupted: %v", err)
	}
}

// TestReportStandsAlone: the page refers to nothing outside and two equal runs write
// the same bytes.
func TestReportStandsAlone(t *testing.T) {
	t.Parallel()
	var pages [2]string
	for i := range pages {
		dir := filepath.Join(t.TempDir(), "report")
		if err := run(t, few(func(c *Config) { c.Workers = i + 1 })).Write(dir); err != nil {
			t.Fatal(err)
		}
		b, err := os.ReadFile(filepath.Join(dir, "index.html"))
		if err != nil {
			t.Fatal(err)
		}
		pages[i] = string(b)
		var back Result
		if b, err = os.ReadFile(filepath.Join(dir, "result.json")); err != nil || json.Unmarshal(b, &back) != nil || back.Total.Batches == 0 {
			t.Errorf("result.json: %v", err)
		}
	}
	if pages[0] != pages[1] {
		t.Error("the same run wrote two pages")
	}
	for _, outside := range []string{"http:", "https:", "src=", "href=", "<script"} {
		if strings.Contains(pages[0], outside) {
			t.Errorf("the page refers to something outside: %s", outside)
		}
	}
	for _, want := range []string{"Wrong results accepted", "Cost of checking", "Utilisation", "Jain", "Mint and burn", "Concentration of stake", "Messages per day", "Bytes per day", "Prices by region and class", "thrifty 20 %", "Disputes per day", "keeper 20 %"} {
		if !strings.Contains(pages[0], want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// TestAliasIsExact: the columns of the table hold each weight to the unit.
func TestAliasIsExact(t *testing.T) {
	t.Parallel()
	for _, weights := range [][]uint64{{1}, {5, 0, 1}, {3, 3, 3}, {1, 1000, 7, 0, 13, 2}} {
		var total uint64
		for _, w := range weights {
			total += w
		}
		a := newAlias(weights, total)
		got := make([]uint64, len(weights))
		for i := range weights {
			got[i] += a.cut[i]
			got[a.other[i]] += total - a.cut[i]
		}
		for i, w := range weights {
			if got[i] != w*uint64(len(weights)) {
				t.Errorf("weights %v: column sum of %d is %d, want %d", weights, i, got[i], w*uint64(len(weights)))
			}
		}
	}
}

func TestConcentration(t *testing.T) {
	t.Parallel()
	equal, one := make([]uint64, 200), make([]uint64, 200)
	for i := range equal {
		equal[i] = 5_000_000
	}
	one[7] = 9_000_000_000
	if g, top := concentration(equal); g > 1 || top != 10 {
		t.Errorf("equal stakes: Gini %d, the two largest of 200 hold %d permille", g, top)
	}
	if g, top := concentration(one); g < 990 || top != 1000 {
		t.Errorf("one has all: Gini %d, top %d", g, top)
	}
}

func TestNumbersForPeople(t *testing.T) {
	t.Parallel()
	if got := interval(100e9); got != 32_900 { // σ = 10 of 100
		t.Errorf("interval of a variance of 100 is %d thousandths", got)
	}
	for _, c := range []struct{ got, want string }{
		{short(999), "999"}, {short(1500), "1.5k"}, {short(-2_000_000), "−2.0M"}, {short(45_000_000_000), "45G"},
		{decimal(123456, 1000), "123.45"}, {decimal(-5, 10), "−0.50"}, {group(1234567), "1\u202f234\u202f567"}, {share(1, 3), "33.33 %"}, {share(1, 0), "0.00 %"},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
	}
}
