// Package netlab makes a network of many hosts on one Linux machine, for tests: each
// host is a network and a mount namespace of its own, joined to the others by a switch.
//
// A Lab owns one switch, its hosts and its routers. Hosts have public-looking addresses,
// each in a /16 of its own unless told otherwise, or private ones behind a Router that
// translates addresses. A plain link is a veth pair on a bridge and as fast as the
// kernel; a host that asks for a Link with delay, loss or a rate gets one that this
// process carries frame by frame, since not every kernel has the netem queue. Links can
// be changed, and hosts cut from the others and healed, while programs run.
//
// It promises to leave nothing behind, however the test ends: the namespaces have no
// names and live no longer than a thread of this process, and programs started in them
// are killed with it. Randomness comes from Options.Seed alone.
//
// It needs root, the commands ip (iproute2) and nft (nftables), and says so plainly when
// it lacks them. It never touches the namespace of the machine itself: no interface,
// route, rule, mount or file outside the hosts. Addresses are IPv4 only.
package netlab
