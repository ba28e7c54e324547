package host

import (
	"math"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/limits"
)

var fileMark = regexp.MustCompile(`(?m)^-- (\S+) --\n`)

// plant writes a recorded tree into a folder: a note, then files, each after a line
// with its name.
func plant(t *testing.T, name string) (root string) {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	root = t.TempDir()
	marks := fileMark.FindAllSubmatchIndex(raw, -1)
	for i, m := range marks {
		end := len(raw)
		if i+1 < len(marks) {
			end = marks[i+1][0]
		}
		write(t, root, string(raw[m[2]:m[3]]), string(raw[m[1]:end]))
	}
	return root
}

func write(t *testing.T, root, name, content string) {
	t.Helper()
	path := filepath.Join(root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestRecordedTrees(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		cores  int
		memory uint64 // KiB
		power  limits.Power
		heat   limits.Heat
		net    limits.Net
	}{
		{"laptop-mains", 4, 16242212, limits.Power{Known: true, Percent: 83}, limits.Heat{Known: true, Celsius: 53, What: "coretemp Package id 0"}, limits.Net{Known: true, What: "wlp3s0"}},
		{"laptop-battery", 4, 16242212, limits.Power{Known: true, Battery: true, Percent: 61}, limits.Heat{Known: true, Celsius: 97, What: "x86_pkg_temp"}, limits.Net{Known: true, Metered: true, What: "wlp3s0"}},
		{"laptop-usbc", 8, 32000000, limits.Power{Known: true, Percent: 80}, limits.Heat{Known: true, Celsius: 48.125, What: "k10temp Tctl"}, limits.Net{Known: true, Metered: true, What: "enx0a1b2c"}},
		{"desktop", 15, 65800000, limits.Power{}, limits.Heat{Known: true, Celsius: 61.25, What: "k10temp Tctl"}, limits.Net{Known: true, What: "eno1"}},
		{"phone", 8, 5800000, limits.Power{Known: true, Battery: true, Percent: 44}, limits.Heat{Known: true, Celsius: 44.8, What: "cpu7-thermal"}, limits.Net{Known: true, Metered: true, What: "rmnet_data0"}},
		{"board", 4, 3884000, limits.Power{}, limits.Heat{Known: true, Celsius: 67.166, What: "cpu-thermal"}, limits.Net{Known: true, What: "eth0"}},
		{"server-ups", 2, 8000000, limits.Power{Known: true, Battery: true, Percent: 90}, limits.Heat{Known: true, Celsius: 58, What: "x86_pkg_temp"}, limits.Net{Known: true, Metered: true, What: "wwan0"}},
		{"cloud", 2, 0, limits.Power{}, limits.Heat{}, limits.Net{Known: true, What: "eth0"}},
		{"nothing", runtime.NumCPU(), 0, limits.Power{}, limits.Heat{}, limits.Net{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := New(Config{Root: plant(t, c.name)}).Read()
			if c.name == "cloud" {
				c.memory = r.Memory >> 10 // recorded: whatever it is
				if c.memory == 0 {
					t.Error("no memory")
				}
			}
			if r.Cores != c.cores || r.Memory != c.memory<<10 {
				t.Errorf("%d cores, %d bytes", r.Cores, r.Memory)
			}
			if r.Power != c.power {
				t.Errorf("power %+v, want %+v", r.Power, c.power)
			}
			if r.Heat != c.heat {
				t.Errorf("heat %+v, want %+v", r.Heat, c.heat)
			}
			if r.Net != c.net {
				t.Errorf("net %+v, want %+v", r.Net, c.net)
			}
			if r.Load.Known || r.Disk.Known || r.Input.Known {
				t.Errorf("a first reading of a tree without terminals: %+v", r)
			}
		})
	}
}

// TestOwnerOverrules holds that a network its owner called not metered is not, of
// whatever kind it is.
func TestOwnerOverrules(t *testing.T) {
	t.Parallel()
	root := plant(t, "server-ups")
	write(t, root, "run/NetworkManager/devices/9", "[device]\nconnection-uuid=abc\n")
	write(t, root, "run/NetworkManager/system-connections/sim.nmconnection", "[connection]\nuuid=abc\nmetered=2\n")
	if n := New(Config{Root: root}).Read().Net; n.Metered || n.What != "wwan0" {
		t.Errorf("%+v", n)
	}
}

// TestUnplugged holds that a cable that is pulled shows in the next reading.
func TestUnplugged(t *testing.T) {
	t.Parallel()
	root := plant(t, "laptop-mains")
	h := New(Config{Root: root})
	if h.Read().Power.Battery {
		t.Fatal("on battery while plugged in")
	}
	write(t, root, "sys/class/power_supply/AC/online", "0\n")
	write(t, root, "sys/class/power_supply/BAT0/status", "Discharging\n")
	if p := h.Read().Power; !p.Battery {
		t.Errorf("%+v", p)
	}
	// A weak charger: the battery helps, and yet it is mains.
	write(t, root, "sys/class/power_supply/AC/online", "1\n")
	if p := h.Read().Power; p.Battery {
		t.Errorf("%+v", p)
	}
}

// clock is a time that a test moves.
type clock struct{ now time.Time }

func (c *clock) pass(d time.Duration) { c.now = c.now.Add(d) }

func newClock() *clock { return &clock{time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)} }

func TestLoad(t *testing.T) {
	t.Parallel()
	root, c := plant(t, "desktop"), newClock()
	h := New(Config{Root: root, Now: func() time.Time { return c.now }})
	h.Read()
	c.pass(2 * time.Second)
	// 100 more of user, 40 of system, 10 of irq; idle, iowait and steal do not count.
	write(t, root, "proc/stat", "cpu  1100 50 540 900900 900 30 30 500 0 0\n")
	l := h.Read().Load
	if !l.Known || math.Abs(l.Cores-0.75) > 1e-9 {
		t.Errorf("%+v, want 0.75 cores", l)
	}
	c.pass(time.Second)
	write(t, root, "proc/stat", "cpu  1 0 0 0 0 0 0 0 0 0\n") // a restored snapshot
	if l = h.Read().Load; l.Known {
		t.Errorf("counters that fell: %+v", l)
	}
}

func TestInputByTerminals(t *testing.T) {
	t.Parallel()
	root, c := t.TempDir(), newClock()
	h := New(Config{Root: root, Now: func() time.Time { return c.now }})
	for name, idle := range map[string]time.Duration{
		"dev/tty1": time.Hour, "dev/pts/0": 3 * time.Minute, "dev/pts/7": 20 * time.Minute,
		"dev/tty": 0, "dev/ttyS0": 0, "dev/pts/ptmx": 0, "dev/null": 0, // none of them is a hand
	} {
		write(t, root, name, "")
		if err := os.Chtimes(filepath.Join(root, name), c.now.Add(-idle), c.now); err != nil {
			t.Fatal(err)
		}
	}
	if in := h.Read().Input; !in.Known || in.Idle != 3*time.Minute || in.What != "pts/0" {
		t.Errorf("%+v", in)
	}
	if err := os.Chtimes(filepath.Join(root, "dev/pts/7"), c.now.Add(-5*time.Second), c.now); err != nil {
		t.Fatal(err)
	}
	if in := h.Read().Input; in.Idle != 0 || in.What != "pts/7" { // within the step of such times
		t.Errorf("%+v", in)
	}
}

func TestInputByInterrupts(t *testing.T) {
	t.Parallel()
	root, c := plant(t, "laptop-mains"), newClock()
	h := New(Config{Root: root, Now: func() time.Time { return c.now }})
	read := func(i8042, xhci string) limits.Input {
		c.pass(time.Second)
		write(t, root, "proc/interrupts", "           CPU0       CPU1\n   1:          0  "+i8042+"  IO-APIC    1-edge      i8042\n 126:  "+xhci+"  0  IR-PCI-MSI-0000:00:14.0    0-edge      xhci_hcd\n")
		return h.Read().Input
	}
	if in := read("100", "1000"); in.Known {
		t.Errorf("known before anything moved: %+v", in)
	}
	if in := read("101", "1000"); !in.Known || in.Idle != 0 || !strings.Contains(in.What, "keyboard") {
		t.Errorf("a key: %+v", in)
	}
	for range 9 {
		read("101", "1002")
	}
	if in := read("101", "1004"); in.Idle != 10*time.Second { // so few may be anything
		t.Errorf("ten seconds later: %+v", in)
	}
	if in := read("101", "1100"); in.Idle != 0 || in.What != "usb" {
		t.Errorf("a mouse moves: %+v", in)
	}
}

// TestThisMachine holds that a reading of whatever machine this is makes sense.
func TestThisMachine(t *testing.T) {
	t.Parallel()
	h := New(Config{Dir: t.TempDir(), Used: func() (uint64, error) { return 7, nil }})
	h.Read()
	time.Sleep(500 * time.Millisecond)
	r := h.Read()
	t.Logf("%+v", r)
	if r.Cores < 1 || r.Cores > 1<<12 || r.Load.Known && (r.Load.Cores < 0 || r.Load.Cores > 2*float64(r.Cores)+1) {
		t.Errorf("%d cores, %+v", r.Cores, r.Load)
	}
	if runtime.GOOS != "linux" {
		return
	}
	if r.Memory < 64<<20 || !r.Disk.Known || r.Disk.Total < r.Disk.Free || r.Disk.Used != 7 {
		t.Errorf("%d bytes of memory, %+v", r.Memory, r.Disk)
	}
	before := CPUTime()
	for end := time.Now().Add(time.Minute); CPUTime() < before+10*time.Millisecond; {
		if time.Now().After(end) {
			t.Fatal("this process uses no CPU time")
		}
	}
}

// BenchmarkRead is what the governor costs each second.
func BenchmarkRead(b *testing.B) {
	h := New(Config{Dir: b.TempDir()})
	for b.Loop() {
		h.Read()
	}
}
