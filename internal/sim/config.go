package sim

import (
	"errors"
	"fmt"

	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// Bounds of a run.
const (
	MinProviders = 1000
	MaxProviders = 1_000_000
	MaxDays      = 3650
	maxWorkers   = 16
	maxSpam      = 10_000
	maxFreeze    = 10_000
)

// ErrConfig reports a run that cannot be simulated.
var ErrConfig = errors.New("not a simulation")

// Config is a run.
type Config struct {
	Providers     int
	Days          int
	Seed          uint64
	CheatPermille uint32           // providers that cheat, one way or another
	RingPermille  uint32           // of all checker bond, in the hands of the ring that shields its provider
	Spam          uint32           // false challenges a day for each 1,000 providers
	Freeze        uint32           // tries a day of the ring to have a program suspended
	Params        lifecycle.Params // of the chain
	Workers       int              // goroutines; all cores if 0; the result does not depend on it
	// Progress hears of every day that has passed; nil for nobody.
	Progress func(day, days int, batches uint64)

	each  bool // every batch by itself, nothing shared: the test of grouping
	small bool // fewer providers than MinProviders, for tests
}

// Defaults are a run of 10,000 providers with 5 % cheats over a month.
func Defaults() Config {
	return Config{Providers: 10_000, Days: 30, Seed: 1, CheatPermille: 50, RingPermille: 200, Spam: 1, Params: lifecycle.PublicParams()}
}

// Check reports, as ErrConfig, what of a run cannot be simulated.
func (c *Config) Check() error {
	switch {
	case (c.Providers < MinProviders && !c.small) || c.Providers < 1 || c.Providers > MaxProviders:
		return fmt.Errorf("%w: %d providers: want %d to %d", ErrConfig, c.Providers, MinProviders, MaxProviders)
	case c.Days < 1 || c.Days > MaxDays:
		return fmt.Errorf("%w: %d days: want 1 to %d", ErrConfig, c.Days, MaxDays)
	case c.CheatPermille > 500:
		return fmt.Errorf("%w: %d permille cheats: want 0 to 500", ErrConfig, c.CheatPermille)
	case c.RingPermille > 900:
		return fmt.Errorf("%w: a ring with %d permille of the checker bond: want 0 to 900", ErrConfig, c.RingPermille)
	case c.Spam > maxSpam || c.Freeze > maxFreeze:
		return fmt.Errorf("%w: %d false challenges a day for each 1000 providers, %d tries to freeze: want at most %d and %d", ErrConfig, c.Spam, c.Freeze, maxSpam, maxFreeze)
	case c.Workers < 0:
		return fmt.Errorf("%w: %d workers", ErrConfig, c.Workers)
	}
	if err := c.Params.Validate(); err != nil {
		return fmt.Errorf("%w: %w", ErrConfig, err)
	}
	return nil
}

// Time. A tick is an hour of blocks of five seconds.
const (
	tickMinutes   = 60
	ticksPerDay   = 24
	blocksPerTick = 720
)

// region is where providers and demand are. Shares are in permille.
type region struct {
	code           string // ISO 3166
	utc            int    // hours
	supply, demand uint64
}

// The regions: a spread over all time zones, with more demand than supply in some.
var regions = []region{
	{"US", -6, 220, 290}, {"BR", -3, 90, 60}, {"DE", 1, 190, 210}, {"ZA", 2, 50, 30},
	{"IN", 5, 170, 110}, {"ID", 7, 80, 50}, {"JP", 9, 120, 150}, {"AU", 10, 80, 100},
}

// rtt is between regions, in milliseconds.
var rtt = [8][8]uint16{
	{15, 130, 110, 220, 230, 220, 140, 170},
	{130, 15, 200, 340, 310, 330, 260, 300},
	{110, 200, 12, 160, 130, 170, 230, 270},
	{220, 340, 160, 15, 250, 260, 350, 380},
	{230, 310, 130, 250, 20, 70, 120, 150},
	{220, 330, 170, 260, 70, 18, 80, 100},
	{140, 260, 230, 350, 120, 80, 10, 110},
	{170, 300, 270, 380, 150, 100, 110, 12},
}

// class is a kind of hardware. Fuel per second is of all slots of the median device.
type class struct {
	name     work.Class
	share    uint64 // of providers, in permille
	slots    uint32
	fuel     work.Fuel // a second
	lo       uint64    // median of the owners' lower bounds, ugtg per work unit
	lastMs   uint64    // median latency of the last mile
	session  uint64    // median minutes online
	begin    *[24]uint64
	want     *[24]uint64 // demand by local hour, in permille of the mean
	appetite uint64      // demand in permille of what is online on average
	online   uint64      // share of the time, in permille, that follows from session and begin
	abrupt   uint64      // permille of the sessions that end without a good-bye
}

var classes = []class{
	{"phone", 250, 4, 1_600_000_000, 90, 35, 360, &night, &evening, 440, 380, 80},
	{"laptop", 250, 4, 3_200_000_000, 130, 20, 240, &office, &officeWants, 420, 330, 50},
	{"desktop", 300, 8, 9_600_000_000, 150, 15, 420, &awake, &evening, 490, 560, 30},
	{"workstation", 120, 16, 22_400_000_000, 140, 8, 660, &office, &officeWants, 500, 640, 10},
	{"server", 80, 32, 32_000_000_000, 120, 3, 12000, &always, &batchWants, 640, 950, 5},
}

// Chances in permille, by local hour, that a device that is off comes on.
var (
	night  = [24]uint64{150, 100, 60, 40, 30, 20, 20, 20, 20, 15, 15, 15, 25, 20, 15, 15, 15, 20, 30, 50, 90, 200, 300, 260}
	office = [24]uint64{5, 3, 2, 2, 3, 10, 40, 120, 260, 260, 160, 100, 80, 120, 90, 60, 40, 40, 60, 80, 70, 40, 20, 10}
	awake  = [24]uint64{20, 12, 8, 6, 8, 20, 60, 110, 150, 150, 120, 100, 100, 100, 100, 110, 140, 180, 200, 180, 140, 90, 60, 35}
	always = [24]uint64{100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100, 100}
)

// Demand by local hour, in permille of its mean.
var (
	evening     = [24]uint64{700, 560, 470, 430, 440, 500, 600, 740, 880, 960, 1000, 1040, 1080, 1080, 1090, 1110, 1160, 1260, 1420, 1560, 1610, 1520, 1270, 980}
	officeWants = [24]uint64{480, 430, 400, 390, 420, 500, 700, 1010, 1400, 1620, 1680, 1640, 1460, 1580, 1640, 1600, 1500, 1290, 1010, 830, 760, 690, 610, 540}
	batchWants  = [24]uint64{1210, 1240, 1230, 1190, 1120, 1030, 930, 850, 800, 790, 810, 840, 870, 880, 890, 900, 920, 950, 990, 1040, 1090, 1130, 1160, 1190}
)

// weekday is demand by day of the week, in permille, Monday first.
var weekday = [7]uint64{1060, 1080, 1080, 1070, 1030, 860, 820}

// A grain is what the median device of a class executes in five minutes: the unit in
// which jobs are dealt out. A batch is four grains: twenty minutes of work.
const (
	grainsPerTick  = 12
	grainSeconds   = 300
	grainsPerBatch = 4
)

// itemsPerGrain are the kinds of jobs: items of 30, 12 and 3 seconds of a whole device.
var itemsPerGrain = [3]uint64{10, 25, 100}

// tiers are what jobs ask for.
var tiers = [2]work.Tier{work.TierEconomic, work.TierAssured}

// assuredPermille of the demand asks for the dearer tier.
const assuredPermille = 100

// boundPermille of the demand stays in its region, whatever it costs there.
const boundPermille = 400

// patienceTicks is how long demand waits before it goes elsewhere.
const patienceTicks = 24
