package chainnode

import (
	"net"
	"os"
	"strconv"
	"syscall"
)

// endOrphans shuts the connections of this process that were accepted at an address.
// CometBFT forgets those that come while it stops, and leaves them open: as long as
// the process lives, whoever dialled believes to be connected, and refuses the node
// when it is back, until its pings time out after 105 s.
//
// It does what it can: without /proc they stay.
func endOrphans(address string) {
	_, want, err := net.SplitHostPort(address)
	if err != nil || want == "0" {
		return
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return
	}
	for _, e := range open {
		fd, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if port, ok := localPort(fd); ok && strconv.Itoa(port) == want {
			_ = syscall.Shutdown(fd, syscall.SHUT_RDWR) // fails for what the other end has left
		}
	}
}

// localPort is the port of a TCP socket's own end; false for all other files.
func localPort(fd int) (port int, ok bool) {
	if kind, err := syscall.GetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_TYPE); err != nil || kind != syscall.SOCK_STREAM {
		return 0, false
	}
	address, err := syscall.Getsockname(fd)
	if err != nil {
		return 0, false
	}
	switch a := address.(type) {
	case *syscall.SockaddrInet4:
		return a.Port, true
	case *syscall.SockaddrInet6:
		return a.Port, true
	}
	return 0, false
}
