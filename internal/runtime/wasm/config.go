package wasm

import (
	"log/slog"
	"time"

	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/work"
)

// Config says where and how much. The zero value of each bound is its default.
type Config struct {
	Dir   string        // folder of the program cache; made if it is not there
	Blobs runtime.Blobs // gives programs and inputs

	Slots       int    // items at once; default 1
	MemoryBytes uint64 // most linear memory of one item; default 4 GiB, which is WebAssembly's own
	OutputBytes uint64 // output that a worker's memory allows for, per item; default 256 MiB
	CacheBytes  int64  // of compiled programs on disk, the ones used longest ago go first; default 8 GiB

	// Timeout bounds the wall time of one item on this host; an item that takes
	// longer is a fault of the host. Default: DefaultTimeout.
	Timeout func(work.Limits) time.Duration
	// CPUTime bounds the CPU time of one item, all threads of its worker together;
	// more is a fault of the host. Default: DefaultTimeout, because an item has one
	// thread.
	CPUTime func(work.Limits) time.Duration

	// Cgroup says where each worker gets a control group of its own, as a bound
	// beside its own limits: CgroupDelegated (the default), CgroupOwn or CgroupNone.
	Cgroup string

	// Limited prepares for Runtime.Limit: all workers together are bounded, by a
	// control group around theirs if Cgroup allows one, or if the kernel does where
	// Cgroup is CgroupDelegated and nothing is delegated.
	Limited bool

	SelfExe string       // the executable that workers are; default this one
	Log     *slog.Logger // default slog.Default
}

// Defaults of Config.
const (
	DefaultMemoryBytes = 4 << 30
	DefaultOutputBytes = 256 << 20
	DefaultCacheBytes  = 8 << 30
)

// Values of Config.Cgroup. Where no group can be had workers run without one, and
// Runtime.Sandbox says why.
const (
	// CgroupDelegated makes groups only where they are ours to make: below a group
	// that belongs to this user, or that systemd has delegated (Delegate=yes).
	CgroupDelegated = ""
	// CgroupOwn makes groups below this process's own group if the kernel lets it.
	CgroupOwn = "own"
	// CgroupNone makes none.
	CgroupNone = "none"
)

// prepareTimeout bounds rewriting, compiling or loading one program.
const prepareTimeout = 10 * time.Minute

// slowestFuelPerSec is a speed below which a host is of no use. Cores reach
// hundreds to thousands of millions; fuel, not time, is an item's limit.
const slowestFuelPerSec = 50_000_000

// DefaultTimeout is half a minute and the time that the slowest useful host
// takes for the fuel, at most two days.
func DefaultTimeout(l work.Limits) time.Duration {
	const most = 48 * time.Hour
	seconds := uint64(l.Fuel) / slowestFuelPerSec
	if seconds >= uint64(most/time.Second) {
		return most
	}
	return 30*time.Second + time.Duration(seconds)*time.Second
}

func (c Config) withDefaults() Config {
	if c.Slots <= 0 {
		c.Slots = 1
	}
	if c.MemoryBytes == 0 || c.MemoryBytes > DefaultMemoryBytes {
		c.MemoryBytes = DefaultMemoryBytes
	}
	if c.OutputBytes == 0 {
		c.OutputBytes = DefaultOutputBytes
	}
	if c.CacheBytes <= 0 {
		c.CacheBytes = DefaultCacheBytes
	}
	if c.Timeout == nil {
		c.Timeout = DefaultTimeout
	}
	if c.CPUTime == nil {
		c.CPUTime = DefaultTimeout
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	return c
}
