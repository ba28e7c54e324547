package member

import (
	"context"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gotong-network/gotong/internal/disk"
	"github.com/gotong-network/gotong/internal/home"
)

// What a machine must have for a node to work.
const (
	// maxSkew is how far a clock may be off: offers and grants live for about as
	// long, and blocks carry the validators' time.
	maxSkew = 30 * time.Second
	// minFree is the free space under which a node takes no new work, and
	// resumeFree that at which it goes on; under haltFree a validator does not
	// start, for a chain node that cannot write ends in the middle of a block.
	minFree    = 512 << 20
	resumeFree = 640 << 20
	haltFree   = 128 << 20

	watchEvery = 10 * time.Second
	roomEvery  = 2 * time.Second
	clockEvery = time.Minute
)

// machine is what the watch over clock and disk has found.
type machine struct {
	Skew  time.Duration // this clock less the network's
	Asked int           // servers that told their time; 0: nothing is known
	Free  uint64        // bytes on the home's disk
	Low   bool          // too few of them: no new work is taken
}

// lookAtClock compares the clock with those of the network's nodes: the middle one
// counts, so that a liar among them changes nothing.
func (n *Node) lookAtClock(ctx context.Context) {
	var skews []time.Duration
	for _, p := range probe(ctx, n.home.Info().Chain, n.others()) {
		if p.err == nil {
			skews = append(skews, p.skew)
		}
	}
	if len(skews) == 0 {
		return // what was known before stays
	}
	slices.Sort(skews)
	skew := skews[len(skews)/2]
	n.mu.Lock()
	news := off(n.machine.Skew) != off(skew) || n.machine.Asked == 0 && off(skew)
	n.machine.Skew, n.machine.Asked = skew, len(skews)
	n.mu.Unlock()
	switch {
	case news && off(skew):
		n.log.Error(clockText(skew))
	case news:
		n.log.Info("the clock is right again", "off_by", skew)
	}
}

func off(skew time.Duration) bool { return skew.Abs() > maxSkew }

func clockText(skew time.Duration) string {
	way := "ahead of"
	if skew < 0 {
		way = "behind"
	}
	return fmt.Sprintf("this machine's clock is %s %s the network's: set it (timedatectl set-ntp true), or what this node says is refused as expired", skew.Abs().Round(time.Second), way)
}

// lookAtDisk pauses what takes new work while the disk is nearly full.
func (n *Node) lookAtDisk() {
	free, _, err := disk.Space(n.home.Dir())
	if err != nil {
		n.log.Error("the disk cannot be watched", "err", err)
		return
	}
	n.mu.Lock()
	was := n.machine.Low
	n.machine.Free = free
	n.machine.Low = free < minFree || was && free < resumeFree
	now := n.machine.Low
	n.mu.Unlock()
	switch {
	case now && !was:
		n.log.Error(fmt.Sprintf("the disk of %s is nearly full (%d MiB are free): no new work is taken before %d MiB are; running work goes on",
			n.home.Dir(), free>>20, uint64(resumeFree>>20)))
	case was && !now:
		n.log.Info("the disk has room again: new work is taken", "free_mib", free>>20)
	default:
		return
	}
	n.steer()
}

// waitForRoom waits until the disk has room for records again, since the roles ended for
// want of it; false if ctx ended.
func (n *Node) waitForRoom(ctx context.Context, why error) bool {
	n.stopDrain()
	n.log.Error("the disk is full: all roles stopped, nothing is lost; they go on when it has room", "err", why)
	n.mu.Lock()
	n.node = nil
	n.mu.Unlock()
	n.waiting("room on the disk")
	t := time.NewTicker(roomEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-t.C:
		}
		if free, _, err := disk.Space(n.home.Dir()); err == nil && free >= haltFree {
			return true
		}
	}
}

// watchMachine keeps an eye on clock and disk until ctx ends.
func (n *Node) watchMachine(ctx context.Context) {
	disk, clock := time.NewTicker(watchEvery), time.NewTicker(clockEvery)
	defer disk.Stop()
	defer clock.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-disk.C:
			n.lookAtDisk()
		case <-clock.C:
			n.lookAtClock(ctx)
		}
	}
}

// fitToStart refuses a start that could do harm: a validator with a wrong clock or
// without room for its blocks. Others start, and say what is wrong.
func (n *Node) fitToStart(ctx context.Context) error {
	n.lookAtDisk()
	n.lookAtClock(ctx)
	if !n.has(home.RoleValidator) {
		return nil
	}
	n.mu.Lock()
	m := n.machine
	n.mu.Unlock()
	switch {
	case m.Free < haltFree:
		return fmt.Errorf("%s: only %d MiB are free and a validator needs %d: %w", n.home.Dir(), m.Free>>20, uint64(haltFree>>20), unix.ENOSPC)
	case off(m.Skew):
		return fmt.Errorf("%w: %s. A validator does not start with it", ErrClock, clockText(m.Skew))
	}
	return nil
}
