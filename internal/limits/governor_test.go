package limits

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// machine is sensors and workers that a test plays; its workers use all they may.
type machine struct {
	mu    sync.Mutex // guards the fields below
	r     Readings
	cores float64 // of the workers' limit
	yield bool
	mem   uint64
	fault error

	at       time.Time
	workers  time.Duration
	own      time.Duration
	ownCores float64
	others   float64
}

// pass lets time go on.
func (m *machine) pass() {
	now := time.Now()
	if !m.at.IsZero() {
		dt := now.Sub(m.at).Seconds()
		m.workers += time.Duration(m.cores * dt * 1e9)
		m.own += time.Duration(m.ownCores * dt * 1e9)
	}
	m.at = now
}

func (m *machine) Read() Readings {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pass()
	r := m.r
	r.Load = Load{Known: true, Cores: m.cores + m.ownCores + m.others}
	return r
}

func (m *machine) Limit(cores float64, memory uint64, yield bool) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pass()
	m.cores, m.mem, m.yield = cores, memory, yield
	return m.fault
}

func (m *machine) CPUTime() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pass()
	return m.workers
}

func (m *machine) Memory() uint64 { return 1 << 20 }
func (m *machine) Bound() string  { return "played by a test" }

func (m *machine) ownTime() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pass()
	return m.own
}

func (m *machine) set(f func(*machine)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pass()
	f(m)
}

// govern runs a governor over m until the test's bubble ends.
func govern(t *testing.T, m *machine, f Flags) *Governor {
	t.Helper()
	c, err := Parse(f)
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Options{Config: c, Sensors: m, Workers: m, Own: m.ownTime})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := g.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
	return g
}

// TestShareCountsOwnTime holds that workers and this program together use what is
// given, over a minute, while what this program takes moves.
func TestShareCountsOwnTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{r: Readings{Cores: 4, Memory: 8 << 30}}
		g := govern(t, m, Flags{CPU: "10%"})
		time.Sleep(10 * time.Second)
		began, sum := time.Now(), m.CPUTime()+m.ownTime()
		for i := range 60 {
			m.set(func(m *machine) { m.ownCores = []float64{0, 0.3, 0.05, 0.1}[i/3%4] })
			time.Sleep(time.Second)
		}
		used := (m.CPUTime() + m.ownTime() - sum).Seconds() / time.Since(began).Seconds() / 4
		if math.Abs(used-0.10) > 0.01 {
			t.Errorf("%.4f of the cores were used, 0.10 is given", used)
		}
		if s := g.Status(); math.Abs(s.CPUUsedPercent-10) > 1 || s.CPULimitPercent != 10 || s.Bound != "played by a test" || s.MemoryLimit != 8<<30*2/5 {
			t.Errorf("status: %+v", s)
		}
		// Where this program takes more than all, workers barely live.
		m.set(func(m *machine) { m.ownCores = 1 })
		time.Sleep(5 * time.Second)
		m.set(func(m *machine) {
			if m.cores > 0.02 {
				t.Errorf("workers may use %.3f cores", m.cores)
			}
		})
	})
}

// TestGovernorWakes holds that what is allowed changes at once on the way down, and
// that those who wait hear of it.
func TestGovernorWakes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{r: Readings{Cores: 4, Memory: 8 << 30, Power: Power{Known: true}}}
		g := govern(t, m, Flags{CPU: "50%"})
		a, changed := g.Now()
		if a.Slots != 2 || a.Why != "" {
			t.Fatalf("%+v", a)
		}
		m.set(func(m *machine) { m.r.Power.Battery = true })
		began := time.Now()
		<-changed
		if took := time.Since(began); took > time.Second {
			t.Errorf("a pause took %s", took)
		}
		a, changed = g.Now()
		if a.Slots != 0 || !strings.Contains(a.Why, "battery") {
			t.Errorf("%+v", a)
		}
		if s := g.Status(); !s.Paused || s.Sensors["power"] != "battery" {
			t.Errorf("%+v", s)
		}
		m.set(func(m *machine) { m.r.Power.Battery = false })
		began = time.Now()
		<-changed
		if took := time.Since(began); took < upAfter || took > upAfter+2*time.Second {
			t.Errorf("going on took %s", took)
		}
		// New limits count from the next reading on.
		_, changed = g.Now()
		c, err := Parse(Flags{Preset: "quiet", CPU: "25%"})
		if err != nil {
			t.Fatal(err)
		}
		g.Change(c)
		<-changed
		if a, _ = g.Now(); a.Slots != 1 {
			t.Errorf("%+v", a)
		}
		m.set(func(m *machine) {
			if !m.yield || math.Abs(m.cores-1) > 1e-9 || m.mem != 8<<30/5 {
				t.Errorf("workers: %+v", m)
			}
		})
	})
}

// TestOthersAreNotUs holds that this program's own load does not make the machine
// count as used, and that another's does.
func TestOthersAreNotUs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{r: Readings{Cores: 4, Memory: 8 << 30}, ownCores: 0.2}
		g := govern(t, m, Flags{CPU: "50%/100%"})
		time.Sleep(6 * time.Minute)
		if s := g.Status(); !s.Idle || s.CPULimitPercent != 100 {
			t.Fatalf("%+v", s)
		}
		m.set(func(m *machine) { m.others = 2 })
		time.Sleep(20 * time.Second)
		if s := g.Status(); s.Idle || s.CPULimitPercent != 50 || !strings.Contains(s.Why, "other programs") {
			t.Errorf("%+v", s)
		}
	})
}

func TestFaultIsSaid(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := &machine{r: Readings{Cores: 4}, fault: errors.New("no such group")}
		g := govern(t, m, Flags{})
		if s := g.Status(); s.Fault != "no such group" {
			t.Errorf("%+v", s)
		}
		m.set(func(m *machine) { m.fault = nil })
		time.Sleep(2 * time.Second)
		if s := g.Status(); s.Fault != "" {
			t.Errorf("%+v", s)
		}
	})
	if _, err := New(Options{}); err == nil {
		t.Error("a governor without sensors")
	}
}
