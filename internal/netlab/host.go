//go:build linux

package netlab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// HostOptions say what a host is like; the zero value is a public one on a fast link.
type HostOptions struct {
	// Addr is the host's address; without one it gets the next public-looking one, or
	// the next of its router's private ones.
	Addr netip.Addr
	// Behind is the router that hides the host; nil: it is reachable from everywhere.
	Behind *Router
	// Link shapes what the host sends and receives; nil: as fast as the kernel is.
	Link *Link
}

// Host is a machine of its own to the programs that run on it, but for its processors,
// its clock and its files; Limit gives it files of its own.
type Host struct {
	lab     *Lab
	name    string
	addr    netip.Addr
	router  *Router
	space   *space
	port    string
	carrier *carrier // nil for a fast link

	island int // guarded by lab.mu: hosts of one island reach each other; 0 is the main land
}

// Host adds a host.
func (l *Lab) Host(name string, o HostOptions) (*Host, error) {
	l.mu.Lock()
	n := len(l.hosts)
	l.mu.Unlock()
	if n >= maxHosts {
		return nil, fmt.Errorf("netlab: a lab has at most %d hosts", maxHosts)
	}
	h := &Host{lab: l, name: name, addr: o.Addr, router: o.Behind}
	var err error
	if h.space, err = newSpace(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	l.hosts = append(l.hosts, h) // Close takes it away from here on
	l.mu.Unlock()
	segment, route, bits := "wan", "default dev eth0", 32
	if r := o.Behind; r != nil {
		segment, route, bits = r.segment, "default via "+r.inside.String(), 24
		if !h.addr.IsValid() {
			h.addr = r.nextInside()
		}
	} else if !h.addr.IsValid() {
		h.addr = publicAddr(n)
	}
	if h.port, h.carrier, err = l.plug(h.space, "eth0", segment, o.Link); err != nil {
		return nil, err
	}
	return h, h.space.ip(
		"link set eth0 up",
		fmt.Sprintf("addr add %s/%d dev eth0", h.addr, bits),
		"route add "+route,
	)
}

// Name is what the host was called.
func (h *Host) Name() string { return h.name }

// Addr is the host's own address, a private one behind a router.
func (h *Host) Addr() netip.Addr { return h.addr }

// SetLink changes the host's link while programs run. Frames that are under way keep
// their old times. It fails for a host that was made without a Link.
func (h *Host) SetLink(l Link) error {
	if h.carrier == nil {
		return fmt.Errorf("netlab: the link of %s is the kernel's own: give it a Link when it is made", h.name)
	}
	return h.carrier.set(l)
}

// Limit puts an empty file system of so many bytes on a folder. Only programs that are
// started on the host after it, and Visit, see it; it vanishes with the host.
func (h *Host) Limit(dir string, bytes int64) error {
	return h.space.do(func() error {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
			return fmt.Errorf("netlab: a file system of %d bytes on %s: %w", bytes, dir, err)
		}
		return nil
	})
}

// Visit runs fn inside the host: its sockets and its files are the host's. What fn
// starts on other goroutines is outside.
func (h *Host) Visit(fn func() error) error { return h.space.visit(fn) }

// Dial connects from inside the host. The address must be literal.
func (h *Host) Dial(ctx context.Context, network, address string) (c net.Conn, err error) {
	err = h.space.visit(func() error {
		c, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return c, err
}

// Listen listens inside the host.
func (h *Host) Listen(network, address string) (l net.Listener, err error) {
	err = h.space.visit(func() error {
		l, err = net.Listen(network, address)
		return err
	})
	return l, err
}

// Forward gives an address of this machine's own loopback that leads to an address as
// seen from inside the host, until the lab is closed.
func (h *Host) Forward(address string) (string, error) {
	in, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("netlab: %w", err)
	}
	h.lab.onClose(in)
	h.lab.wg.Go(func() {
		for {
			c, err := in.Accept()
			if err != nil {
				return
			}
			h.lab.wg.Go(func() { h.join(c, address) })
		}
	})
	return in.Addr().String(), nil
}

func (h *Host) join(c net.Conn, address string) {
	ctx, cancel := context.WithTimeout(h.lab.ctx, 10*time.Second)
	defer cancel()
	out, err := h.Dial(ctx, "tcp", address)
	if err != nil {
		_ = c.Close() // what the caller sees of a refusal
		return
	}
	unhook := context.AfterFunc(h.lab.ctx, func() { _, _ = c.Close(), out.Close() })
	defer unhook()
	var both sync.WaitGroup
	for _, way := range [][2]net.Conn{{c, out}, {out, c}} {
		both.Go(func() {
			_, _ = io.Copy(way[1], way[0]) // an end is an end, whatever its cause
			if half, ok := way[1].(*net.TCPConn); ok {
				_ = half.CloseWrite() // gone already is as good
			}
		})
	}
	both.Wait()
	_, _ = c.Close(), out.Close()
}

// Cmd is a program to run on a host: an exec.Cmd whose starting methods start it there.
// It is killed with the lab, and with this process.
type Cmd struct {
	*exec.Cmd
	host *Host
}

// Command makes a Cmd as exec.CommandContext does.
func (h *Host) Command(ctx context.Context, path string, args ...string) *Cmd {
	c := &Cmd{Cmd: exec.CommandContext(ctx, path, args...), host: h}
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return c
}

// Start starts the program on the host.
func (c *Cmd) Start() error { return c.host.space.do(c.Cmd.Start) }

// Run starts the program on the host and waits for it.
func (c *Cmd) Run() error {
	if err := c.Start(); err != nil {
		return err
	}
	return c.Wait()
}

// Output runs the program on the host and gives what it printed.
func (c *Cmd) Output() ([]byte, error) {
	var out, errw bytes.Buffer
	c.Stdout = &out
	if c.Stderr == nil {
		c.Stderr = &errw
	}
	err := c.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		exit.Stderr = errw.Bytes()
	}
	return out.Bytes(), err
}

// CombinedOutput runs the program on the host and gives all that it printed.
func (c *Cmd) CombinedOutput() ([]byte, error) {
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	err := c.Run()
	return out.Bytes(), err
}
