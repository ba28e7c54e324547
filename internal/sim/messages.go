package sim

import (
	"math/bits"

	"github.com/gotong-network/gotong/work"
)

// message is a kind of chain message.
type message int

// The messages that grow with work.
const (
	msgCommit message = iota
	msgOpen
	msgReveal
	msgCheck
	msgCheckReveal
	msgVote
	msgVoteReveal
	msgChallenge
	msgClaim
	msgAnswer
	messages
)

// sizes are the bytes of chain messages, from the canonical bytes of work. Paths,
// openings and leaves come on top, by draw.
type sizes struct {
	fixed [messages]uint64
	node  uint64
	leaf  uint64
}

// txBytes is what a transaction of one message adds: key, signature, fee, sequence
// and the names of types. addressBytes is an account in bech32 with its tag.
const (
	txBytes      = 230
	addressBytes = 49
)

func newSizes() sizes {
	e := work.Encoder{}
	e.Hash(work.Hash{})
	hash := uint64(len(e.Bytes())) + 2
	a := work.Assignment{Chain: "gotong-1", Provider: work.Address(make([]byte, addressBytes-2)), Attempt: 1, Ranges: work.NewRangeSet(work.Range{Lo: 0, Hi: 1})}
	part := uint64(len(a.Encode())) + 3
	ranges := work.Encoder{}
	a.Ranges.Encode(&ranges)
	s := sizes{leaf: uint64(len(work.Leaf{}.Bytes())) + 3, node: hash + 8}
	base := uint64(txBytes + addressBytes)
	s.fixed[msgCommit] = base + hash + part + uint64(len(ranges.Bytes())) + s.node + 10
	s.fixed[msgOpen] = base + hash
	s.fixed[msgReveal] = base + 2*hash
	s.fixed[msgCheck] = base + 2*hash
	s.fixed[msgCheckReveal] = base + 2*hash
	s.fixed[msgVote] = base + 2*hash
	s.fixed[msgVoteReveal] = base + 2*hash
	s.fixed[msgChallenge] = base + hash + s.leaf + 10
	s.fixed[msgClaim] = base + hash + 10
	s.fixed[msgAnswer] = base + hash + s.leaf
	return s
}

// opening is the bytes that open one item of n: the node and its path.
func (s *sizes) opening(n uint64) uint64 {
	return s.node*uint64(1+bits.Len64(max(n, 1)-1)) + 6
}

// say counts messages and their bytes, and what they hold beyond the fixed part.
func (k *worker) say(m message, n, more uint64) {
	k.day.Messages += n
	k.day.Bytes += n*k.w.sizes.fixed[m] + more
}
