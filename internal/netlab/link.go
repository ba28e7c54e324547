//go:build linux

package netlab

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// maxFrame is an Ethernet frame of the interfaces' default size of 1500 bytes.
	maxFrame = 1514
	// underWay bounds the frames that one direction of a link holds; more are dropped.
	underWay = 16384
	// maxQueue bounds how long a frame waits for a slow link to be free before it is
	// dropped, as in a router with a small buffer.
	maxQueue = 200 * time.Millisecond
)

// Link is what a line does to the frames of one host, in each direction.
type Link struct {
	Delay time.Duration // of a frame, one way: half of what it adds to a round trip
	Loss  float64       // share of frames that vanish, from 0 to 1
	Rate  int64         // bits per second; 0: unlimited
}

// carrier carries the frames of one host between its interface and the switch.
type carrier struct {
	link atomic.Pointer[Link]
}

func (c *carrier) set(l Link) error {
	if l.Delay < 0 || !(l.Loss >= 0 && l.Loss <= 1) || l.Rate < 0 {
		return fmt.Errorf("netlab: a link cannot have a delay of %s, a loss of %v and a rate of %d", l.Delay, l.Loss, l.Rate)
	}
	c.link.Store(&l)
	return nil
}

// carry makes an interface of a host and a port of the switch, and carries frames
// between them until the lab is closed.
func (l *Lab) carry(s *space, name, port string, link Link) (*carrier, error) {
	c := new(carrier)
	if err := c.set(link); err != nil {
		return nil, err
	}
	inside, err := s.tap(name)
	if err != nil {
		return nil, err
	}
	l.onClose(inside)
	outside, err := l.core.tap(port)
	if err != nil {
		return nil, err
	}
	l.onClose(outside)
	l.direct(c, inside, outside, l.random(port+" out"))
	l.direct(c, outside, inside, l.random(port+" in"))
	return c, nil
}

// frame is one that is under way.
type frame struct {
	due  time.Time
	data []byte
}

// direct carries one direction.
func (l *Lab) direct(c *carrier, from, to *os.File, random *rand.Rand) {
	line := make(chan frame, underWay)
	l.wg.Go(func() {
		defer close(line)
		c.receive(from, line, random)
	})
	l.wg.Go(func() {
		for f := range line {
			time.Sleep(time.Until(f.due))
			_, _ = to.Write(f.data) // a full or closed interface loses frames, as it may
		}
	})
}

// receive decides which frames go on, and when. Frames keep their order.
func (c *carrier) receive(from *os.File, line chan<- frame, random *rand.Rand) {
	var free, last time.Time // when the link has sent what it has; when the last frame is due
	buf := make([]byte, maxFrame)
	for {
		n, err := from.Read(buf)
		if errors.Is(err, unix.EIO) { // the interface is not up yet
			time.Sleep(time.Millisecond)
			continue
		}
		if err != nil {
			return
		}
		link, now := c.link.Load(), time.Now()
		if random.Float64() < link.Loss {
			continue
		}
		due := now
		if link.Rate > 0 {
			if free.Sub(now) > maxQueue {
				continue
			}
			if free.Before(now) {
				free = now
			}
			free = free.Add(time.Duration(int64(n) * 8 * int64(time.Second) / link.Rate))
			due = free
		}
		due = due.Add(link.Delay)
		if due.Before(last) {
			due = last
		}
		last = due
		select {
		case line <- frame{due: due, data: append([]byte(nil), buf[:n]...)}:
		default: // the line is full
		}
	}
}

// tap makes an interface whose frames this process reads and writes.
func (s *space) tap(name string) (f *os.File, err error) {
	err = s.visit(func() error {
		fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
		if err != nil {
			return fmt.Errorf("netlab: open /dev/net/tun, which links with delay, loss or a rate need: %w", err)
		}
		req, err := unix.NewIfreq(name)
		if err == nil {
			req.SetUint16(unix.IFF_TAP | unix.IFF_NO_PI)
			err = unix.IoctlIfreq(fd, unix.TUNSETIFF, req)
		}
		if err != nil {
			_ = unix.Close(fd) // of no use
			return fmt.Errorf("netlab: make interface %s: %w", name, err)
		}
		f = os.NewFile(uintptr(fd), name)
		return nil
	})
	return f, err
}
