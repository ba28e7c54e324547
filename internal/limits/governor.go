package limits

import (
	"context"
	"errors"
	"log/slog"
	"math"
	"sync"
	"time"
)

// Sensors read the machine. They are asked from one goroutine, about every second,
// and must not block.
type Sensors interface {
	// Read gives what can be read now. Load is what all programs of the machine have
	// used since the last call, ours included.
	Read() Readings
}

// Workers is what runs other people's items: what the governor bounds.
type Workers interface {
	// Limit bounds all workers together from now on: to so many cores of CPU time per
	// time, and to so many bytes of memory, 0 for no bound. With yield other programs
	// go first. After an error some of it may not hold.
	Limit(cores float64, memory uint64, yield bool) error
	// CPUTime is what all workers have used so far, the ended ones too.
	CPUTime() time.Duration
	// Memory is what all workers hold now, in bytes.
	Memory() uint64
	// Bound says how the limits are kept, for people.
	Bound() string
}

// Allowance is what may be used now.
type Allowance struct {
	Slots       int    // items at once; 0: none
	MemoryBytes uint64 // of all workers together; 0: not bounded
	Why         string // it is not everything; empty: it is
}

// Options of a Governor.
type Options struct {
	Config  Config
	Slots   int                  // most items at once; 0: as many as cores
	Sensors Sensors              // required
	Workers Workers              // nil: only slots and pauses are decided
	Own     func() time.Duration // CPU time of this process itself so far; nil: it does not count
	Every   time.Duration        // between readings; 1 s
	Log     *slog.Logger         // nil: silent
}

// Status is what is given and used, for people and programs.
type Status struct {
	Paused bool   `json:"paused"`
	Why    string `json:"why,omitempty"`
	Idle   bool   `json:"idle"` // the machine counts as idle

	CPULimitPercent float64 `json:"cpu_limit_percent"` // of all cores together, now
	CPUUsedPercent  float64 `json:"cpu_used_percent"`  // mean of the last minute, workers and this program
	Slots           int     `json:"slots"`
	MemoryLimit     uint64  `json:"memory_limit"` // bytes, of all workers together; 0: none
	MemoryUsed      uint64  `json:"memory_used"`  // bytes
	DiskLimit       uint64  `json:"disk_limit"`   // bytes; 0: unknown
	DiskUsed        uint64  `json:"disk_used"`    // bytes

	Bound string `json:"bound"`           // how limits are kept
	Fault string `json:"fault,omitempty"` // they could not be

	Sensors map[string]string `json:"sensors"` // what each one says
}

// Governor decides what of the machine is given, and holds workers to it. Run it
// for as long as anything may work.
type Governor struct {
	opts Options
	log  *slog.Logger

	mu      sync.Mutex // guards the fields below
	config  Config
	state   State
	read    Readings
	changed chan struct{} // closed when what Now says has changed
	now     Allowance
	fault   string
	used    window

	// The loop's own.
	at      time.Time
	workers time.Duration
	own     time.Duration
	ownRate float64 // cores
	debt    float64 // core seconds that this program took more than was set aside
	others  float64 // cores, smoothed
}

// New decides and bounds for the first time.
func New(o Options) (*Governor, error) {
	if o.Sensors == nil {
		return nil, errors.New("limits: sensors are required")
	}
	if o.Every <= 0 {
		o.Every = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	g := &Governor{opts: o, log: o.Log, config: o.Config, changed: make(chan struct{})}
	g.step(time.Now())
	return g, nil
}

// Now gives what is allowed, and a channel that is closed when that is no longer so.
func (g *Governor) Now() (Allowance, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.now, g.changed
}

// Change replaces the limits, from the next reading on.
func (g *Governor) Change(c Config) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.config = c
}

// Run reads, decides and bounds until ctx ends. Workers keep the last limits.
func (g *Governor) Run(ctx context.Context) error {
	t := time.NewTicker(g.opts.Every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
			g.step(time.Now())
		}
	}
}

// step is one turn of the loop.
func (g *Governor) step(now time.Time) {
	r := g.opts.Sensors.Read()
	cores := float64(max(r.Cores, 1))
	dt := g.account(now, &r)

	g.mu.Lock()
	d, s := Decide(g.config, r, g.opts.Slots, now, g.state)
	was := g.state.Last
	g.state, g.read = s, r
	a := Allowance{Slots: d.Slots, MemoryBytes: d.Memory, Why: d.Why}
	if d.Paused {
		a.Slots = 0
	}
	// The reason's figures move all the time; only what is allowed wakes others.
	if a.Slots != g.now.Slots || a.MemoryBytes != g.now.MemoryBytes || (a.Why == "") != (g.now.Why == "") {
		close(g.changed)
		g.changed = make(chan struct{})
	}
	g.now = a
	yield := g.config.Yield
	g.mu.Unlock()

	if d.Paused != was.Paused || d.CPU != was.CPU {
		g.log.Info("limits decided", "cpu", Percent(math.Round(1000*d.CPU)/10), "slots", a.Slots, "why", d.Why)
	}
	g.bound(g.forWorkers(d.CPU*cores, dt), d.Memory, yield)
}

// account takes what was used since the last turn, and leaves in r what others did.
func (g *Governor) account(now time.Time, r *Readings) (dt float64) {
	var own time.Duration
	if g.opts.Own != nil {
		own = g.opts.Own()
	}
	var workers time.Duration
	if g.opts.Workers != nil {
		workers = g.opts.Workers.CPUTime()
	}
	defer func() { g.at, g.workers, g.own = now, workers, own }()
	if dt = now.Sub(g.at).Seconds(); g.at.IsZero() || dt <= 0 {
		r.Load = Load{}
		return 0
	}
	ours := (workers - g.workers + own - g.own).Seconds()
	rate := max(0, (own-g.own).Seconds()/dt)
	// What was set aside for this program is what it took the time before.
	g.debt += (rate - g.ownRate) * dt
	g.ownRate = rate
	g.mu.Lock()
	g.used.add(now, max(0, ours)/float64(max(r.Cores, 1)))
	g.mu.Unlock()
	if r.Load.Known {
		others := max(0, r.Load.Cores-ours/dt)
		k := math.Exp(-dt / smoothSeconds)
		g.others = k*g.others + (1-k)*others
		r.Load.Cores = g.others
	}
	return dt
}

const (
	// smoothSeconds is how slowly the load of others is believed: a job of a second
	// is no use of the machine.
	smoothSeconds = 10
	// leastCores keep workers alive where this program itself takes all that is given.
	leastCores = 0.01
)

// forWorkers is what is left for workers of so many cores: this program's own time,
// fetching and hashing and talking, is a part of what is given, but it is never
// held up itself, because it has promises to keep in time.
func (g *Governor) forWorkers(cores, dt float64) float64 {
	left := cores - g.ownRate
	if dt > 0 {
		pay := min(max(g.debt/dt, -g.ownRate), cores/2) // back over several turns
		left -= pay
		g.debt -= pay * dt
		g.debt = min(max(g.debt, -cores), 10*cores) // no more is kept in mind
	}
	return min(cores, max(left, leastCores))
}

// bound holds the workers to the limits.
func (g *Governor) bound(cores float64, memory uint64, yield bool) {
	if g.opts.Workers == nil {
		return
	}
	err := g.opts.Workers.Limit(cores, memory, yield)
	g.mu.Lock()
	defer g.mu.Unlock()
	was := g.fault
	g.fault = ""
	if err != nil {
		g.fault = err.Error()
	}
	if g.fault != was && err != nil {
		g.log.Error("limits cannot be kept: what is above them goes on", "err", err)
	}
}

// Status says what is given and used.
func (g *Governor) Status() Status {
	g.mu.Lock()
	defer g.mu.Unlock()
	d := g.state.Last
	s := Status{
		Paused: d.Paused, Why: d.Why, Idle: d.Idle, CPULimitPercent: math.Round(1000*d.CPU) / 10, Slots: g.now.Slots,
		CPUUsedPercent: math.Round(1000*g.used.mean()) / 10,
		MemoryLimit:    d.Memory, DiskLimit: d.Disk, DiskUsed: g.read.Disk.Used, Bound: "slots and pauses only", Fault: g.fault, Sensors: g.read.text(),
	}
	if g.opts.Workers != nil {
		s.Bound, s.MemoryUsed = g.opts.Workers.Bound(), g.opts.Workers.Memory()
	}
	return s
}

// window is what was used in the last minute.
type window struct{ marks []mark }

type mark struct {
	at   time.Time
	used float64 // machine seconds since the mark before
}

const windowTime = time.Minute

func (w *window) add(now time.Time, used float64) {
	w.marks = append(w.marks, mark{now, used})
	for len(w.marks) > 1 && now.Sub(w.marks[0].at) >= windowTime {
		w.marks = w.marks[1:]
	}
}

// mean is the share of the machine that was used.
func (w *window) mean() float64 {
	if len(w.marks) < 2 {
		return 0
	}
	var sum float64
	for _, m := range w.marks[1:] {
		sum += m.used
	}
	return sum / w.marks[len(w.marks)-1].at.Sub(w.marks[0].at).Seconds()
}
