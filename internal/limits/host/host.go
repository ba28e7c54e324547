package host

import (
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/gotong-network/gotong/internal/limits"
)

// Config says what is read.
type Config struct {
	Root string // of the files; "/"
	Dir  string // whose file system is the disk; empty: the disk is unknown
	// Used gives the bytes of our blobs; nil: 0.
	Used func() (uint64, error)
	Now  func() time.Time // time.Now
}

// Host reads one machine. It implements limits.Sensors, for one goroutine.
type Host struct {
	cfg Config

	at     time.Time     // of the last reading
	busy   time.Duration // CPU time of all programs until then
	counts map[string]uint64
	hands  time.Time // interrupts of input devices were last seen to move

	heatAt  time.Time // of hottest
	hottest limits.Heat
}

var _ limits.Sensors = (*Host)(nil)

// New makes a reader.
func New(cfg Config) *Host {
	if cfg.Root == "" {
		cfg.Root = "/"
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Host{cfg: cfg}
}

// Read implements limits.Sensors.
func (h *Host) Read() limits.Readings {
	now := h.cfg.Now()
	r := limits.Readings{
		Cores: h.cores(), Memory: h.memory(), Power: h.power(), Heat: h.heatNow(now), Net: h.net(), Disk: h.disk(),
	}
	dt := now.Sub(h.at)
	if h.at.IsZero() {
		dt = 0
	}
	r.Load, r.Input = h.load(dt), h.input(now, dt)
	h.at = now
	return r
}

// cores are the processors that are switched on.
func (h *Host) cores() int {
	n := 0
	for part := range strings.SplitSeq(h.text("sys/devices/system/cpu/online"), ",") {
		lo, hi, span := strings.Cut(part, "-")
		a, err1 := strconv.Atoi(lo)
		b, err2 := a, error(nil)
		if span {
			b, err2 = strconv.Atoi(hi)
		}
		if err1 == nil && err2 == nil && b >= a && b < 1<<16 {
			n += b - a + 1
		}
	}
	if n == 0 {
		return runtime.NumCPU()
	}
	return n
}

// memory is the machine's, in bytes; 0: unknown.
func (h *Host) memory() uint64 {
	for line := range strings.Lines(h.text("proc/meminfo")) {
		if f := strings.Fields(line); len(f) >= 2 && f[0] == "MemTotal:" {
			n, _ := strconv.ParseUint(f[1], 10, 54)
			return n << 10
		}
	}
	return 0
}

// hertz is the unit of /proc/stat's times, which the kernel fixes for all programs.
const hertz = 100

// load is what all programs of the machine used since the last reading.
func (h *Host) load(dt time.Duration) limits.Load {
	line, _, _ := strings.Cut(h.text("proc/stat"), "\n")
	f := strings.Fields(line)
	if len(f) < 8 || f[0] != "cpu" {
		return limits.Load{}
	}
	var busy time.Duration
	for _, i := range []int{1, 2, 3, 6, 7} { // user, nice, system, irq, softirq
		n, err := strconv.ParseUint(f[i], 10, 62)
		if err != nil {
			return limits.Load{}
		}
		busy += time.Duration(n) * (time.Second / hertz)
	}
	before := h.busy
	h.busy = busy
	if dt <= 0 || busy < before {
		return limits.Load{}
	}
	return limits.Load{Known: true, Cores: (busy - before).Seconds() / dt.Seconds()}
}

// text is a file's content without the space around it; empty if it cannot be read.
func (h *Host) text(name string) string {
	b, err := os.ReadFile(filepath.Join(h.cfg.Root, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// number is a file's content as a number.
func (h *Host) number(name string) (int64, bool) {
	n, err := strconv.ParseInt(h.text(name), 10, 64)
	return n, err == nil
}

// maxEntries bounds what is looked at of one folder.
const maxEntries = 512

// names are the entries of a folder, sorted.
func (h *Host) names(dir string) []string {
	list, _ := os.ReadDir(filepath.Join(h.cfg.Root, dir))
	var out []string
	for _, e := range list[:min(len(list), maxEntries)] {
		out = append(out, e.Name())
	}
	return out
}
