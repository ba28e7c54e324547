//go:build linux

package netlab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
)

// Bounds of one lab: what its addresses and its ports at the switch have room for.
const (
	maxHosts   = 190
	maxRouters = 50
)

// ErrPrivileges means that namespaces cannot be made here.
var ErrPrivileges = errors.New("netlab: cannot make network namespaces")

// Options say how a lab behaves.
type Options struct {
	// Seed decides which frames a link with loss drops, together with when programs
	// send them.
	Seed uint64
}

// Lab is a switch and what is plugged into it. Its methods may be called from several
// goroutines at once.
type Lab struct {
	seed uint64
	core *space // holds the bridges; no address is in it

	ctx  context.Context // ends with Close; carriers and forwarders stop
	stop context.CancelFunc
	wg   sync.WaitGroup // goroutines of the lab

	mu      sync.Mutex // guards what follows
	closed  bool
	hosts   []*Host
	routers []*Router
	ports   int         // given out so far
	open    []io.Closer // taps and listeners
}

// New makes a lab without hosts. It fails with ErrPrivileges where the machine does not
// let it; a test must fail then, not skip.
func New(o Options) (*Lab, error) {
	if os.Geteuid() != 0 {
		return nil, fmt.Errorf("%w: only root may: run the tests as root", ErrPrivileges)
	}
	for command, pkg := range map[string]string{"ip": "iproute2", "nft": "nftables"} {
		if _, err := exec.LookPath(command); err != nil {
			return nil, fmt.Errorf("%w: %s is not here: run make deps, or apt-get install %s", ErrPrivileges, command, pkg)
		}
	}
	core, err := newSpace()
	if err != nil {
		return nil, err
	}
	l := &Lab{seed: o.Seed, core: core}
	l.ctx, l.stop = context.WithCancel(context.Background())
	if err := l.bridge("wan"); err != nil {
		l.Close()
		return nil, err
	}
	if err := l.islands(); err != nil { // says at once whether the kernel can cut
		l.Close()
		return nil, err
	}
	return l, nil
}

// Close kills what runs on the hosts and takes the network away.
func (l *Lab) Close() {
	l.mu.Lock()
	l.closed = true
	hosts, routers, open := l.hosts, l.routers, l.open
	l.mu.Unlock()
	l.stop()
	for _, c := range open {
		_ = c.Close() // nothing can be done about it
	}
	for _, h := range hosts {
		h.space.close()
	}
	for _, r := range routers {
		r.space.close()
	}
	l.core.close()
	l.wg.Wait()
}

// bridge adds a segment to the switch.
func (l *Lab) bridge(name string) error {
	return l.core.ip(
		"link add "+name+" type bridge forward_delay 0 mcast_snooping 0",
		"link set "+name+" up",
	)
}

// port gives the name of a new port at the switch.
func (l *Lab) port() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ports++
	return fmt.Sprintf("p%d", l.ports)
}

// plug joins a new interface of a space to a segment of the switch: by a veth pair, or
// by a carried link when one is given.
func (l *Lab) plug(s *space, name, segment string, link *Link) (port string, c *carrier, err error) {
	port = l.port()
	if link == nil {
		err = l.core.ip("link add " + port + " type veth peer name " + name + " netns " + s.path("net"))
	} else {
		c, err = l.carry(s, name, port, *link)
	}
	if err != nil {
		return "", nil, err
	}
	return port, c, l.core.ip("link set "+port+" master "+segment, "link set "+port+" up")
}

// random is a source that depends on the seed and the name alone.
func (l *Lab) random(name string) *rand.Rand {
	sum := uint64(14695981039346656037) // FNV-1a
	for _, b := range []byte(name) {
		sum = (sum ^ uint64(b)) * 1099511628211
	}
	return rand.New(rand.NewPCG(l.seed, sum))
}

// onClose has c closed with the lab, or at once if it is closed already.
func (l *Lab) onClose(c io.Closer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		_ = c.Close() // nobody waits for it
		return
	}
	l.open = append(l.open, c)
}

// publicAddr gives the nth address that looks public: each in a /16 of its own, since
// programs rightly distrust many peers of one prefix.
func publicAddr(n int) netip.Addr { return netip.AddrFrom4([4]byte{45, byte(60 + n), 0, 10}) }

// ip runs ip's commands in a space, one a line.
func (s *space) ip(lines ...string) error {
	return s.run(strings.Join(lines, "\n"), "ip", "-batch", "-")
}

// nft loads rules in a space, all or none.
func (s *space) nft(rules string) error { return s.run(rules, "nft", "-f", "-") }

// run runs a short program in a space.
func (s *space) run(stdin, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := s.do(cmd.Start); err != nil {
		return err
	}
	if err := cmd.Wait(); err != nil {
		return fmt.Errorf("netlab: %s: %w: %s\n%s", name, err, strings.TrimSpace(out.String()), stdin)
	}
	return nil
}
