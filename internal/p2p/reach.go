package p2p

// ReachKind says how strangers come to a node.
type ReachKind string

// The ways.
const (
	ReachUnknown ReachKind = "unknown" // nobody has told yet
	ReachPublic  ReachKind = "public"  // anybody may dial it
	ReachDirect  ReachKind = "direct"  // behind a translator of addresses that lets peers through, or in one private network with them
	ReachRelayed ReachKind = "relayed" // through a relay only
)

// Reach is how a node is reached, as far as it knows.
type Reach struct {
	Kind  ReachKind `json:"kind"`
	Addrs []string  `json:"addrs"` // multiaddrs that work from outside, best first
}
