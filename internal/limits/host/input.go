package host

import (
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gotong-network/gotong/internal/limits"
)

const (
	// busDevices share their interrupt with others: so many a second are a hand that
	// moves, fewer may be anything.
	busPerSecond = 5
	// A terminal's access time moves in steps of eight seconds.
	terminalStep = 8 * time.Second
)

// Interrupts of devices that hands move (proc/interrupts): ones of their own, and
// ones of buses.
var (
	handDevices = []string{"i8042", "i2c_hid", "i2c-hid", "elan", "syna", "goodix", "touch", "keyboard", "gpio-keys"}
	busDevices  = []string{"xhci", "ehci", "ohci", "uhci", "dwc3", "dwc2"}
)

// input says how long nobody has used terminals, keyboards or mice. What was before
// the first reading is only known of terminals.
func (h *Host) input(now time.Time, dt time.Duration) limits.Input {
	in := h.terminals(now)
	what, known := h.interrupts(dt)
	if what != "" {
		h.hands = now
	}
	if !known {
		return in
	}
	if idle := now.Sub(h.hands); !h.hands.IsZero() && (!in.Known || idle < in.Idle) {
		if what == "" {
			what = "keyboard or mouse"
		}
		in.Idle, in.What = max(0, idle), what
	}
	in.Known = in.Known || !h.hands.IsZero()
	return in
}

// terminals is the newest access to dev/tty* and dev/pts/*, which reading what was
// typed there is.
func (h *Host) terminals(now time.Time) (in limits.Input) {
	for _, dir := range []string{"dev", "dev/pts"} {
		for _, name := range h.names(dir) {
			if dir == "dev" && !terminalName(name) || name == "ptmx" {
				continue
			}
			at, ok := accessed(filepath.Join(h.cfg.Root, dir, name))
			if !ok {
				continue
			}
			idle := now.Sub(at)
			if idle < terminalStep {
				idle = 0
			}
			if !in.Known || idle < in.Idle {
				in = limits.Input{Known: true, Idle: idle, What: strings.TrimPrefix(filepath.Join(dir, name), "dev/")}
			}
		}
	}
	return in
}

// terminalName reports tty1 and its like: consoles, not serial lines, and not tty
// itself, which stands for whoever opens it.
func terminalName(name string) bool {
	n, ok := strings.CutPrefix(name, "tty")
	if !ok {
		return false
	}
	_, err := strconv.Atoi(n)
	return err == nil
}

// interrupts says which input device moved since the last reading, and whether
// there is any.
func (h *Host) interrupts(dt time.Duration) (what string, known bool) {
	counts := map[string]uint64{}
	for line := range strings.Lines(h.text("proc/interrupts")) {
		number, rest, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		f := strings.Fields(rest)
		k := 0
		var sum uint64
		for ; k < len(f); k++ {
			n, err := strconv.ParseUint(f[k], 10, 64)
			if err != nil {
				break
			}
			sum += n
		}
		name := strings.ToLower(strings.Join(f[k:], " "))
		if kind := inputKind(name); kind != "" {
			counts[kind+" "+strings.TrimSpace(number)] += sum
		}
	}
	for kind, n := range counts {
		moved := n - min(n, h.counts[kind])
		if dt <= 0 || moved == 0 {
			continue
		}
		if strings.HasPrefix(kind, "usb") && float64(moved) < busPerSecond*dt.Seconds() {
			continue
		}
		what, _, _ = strings.Cut(kind, " ")
	}
	h.counts = counts
	return what, len(counts) > 0
}

// inputKind names what an interrupt is of; empty if of no input.
func inputKind(name string) string {
	contains := func(part string) bool { return strings.Contains(name, part) }
	switch {
	case slices.ContainsFunc(handDevices, contains):
		return "keyboard-or-mouse"
	case slices.ContainsFunc(busDevices, contains):
		return "usb"
	}
	return ""
}
