package chainnode

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/cometbft/cometbft/crypto"
	"github.com/cometbft/cometbft/privval"
	cmtproto "github.com/cometbft/cometbft/proto/tendermint/types"
	cmttypes "github.com/cometbft/cometbft/types"
)

// ErrSignsElsewhere reports that another node signs blocks with this home's key.
var ErrSignsElsewhere = errors.New("another node signs with this validator's key")

// errNotYet is why a signature is refused that may be given later.
var errNotYet = errors.New("not before it is sure that no other node signs with this validator's key")

// signer lends CometBFT the validator's key, once nobody else signs with it. It has
// three phases:
//
//	looking  it signs nothing, and looks for the key in the commits of blocks
//	proving  it signs only precommits for a block, until a commit has one of its own
//	signing  it signs what it is asked for
//
// Why two nodes with one key never sign two things at one place of a chain that
// moves: commits are the same for everybody, and who is asked to sign at a height has
// read those up to two below it. Who leaves looking has found the key in none of the
// last `look` ≥ absentBlocks commits; so another node with the key, which is not in
// them either, is no longer signing, but at most proving. Two that prove may both
// sign at one place, but for the same block, since a precommit needs two thirds of
// the prevotes: that is no offence. The next commit holds the signature of one of
// them; the other one finds it there, and stops for good.
//
// In a chain that stands commits tell nothing: see Node.lookOut.
type signer struct {
	key    *privval.FilePV
	chain  string
	mark   string // file that marks a home made of a copy; see RestoredFile
	look   int64  // commits to look at; at least absentBlocks
	before place  // of the last signature of the home's earlier processes
	log    *slog.Logger
	stop   func(error) // called once, when another node signs

	mu       sync.Mutex // guards key and what follows
	blocks   commits    // set before the first request
	phase    phase
	restored bool  // the mark is there
	begun    int64 // the height at which looking began, 0: it did not
	read     int64 // the height up to which commits were read
	freed    int64 // the height of the last release
	absent   int   // commits in a row without the key, not below freed
	made     madeSignatures
	held     []cmtproto.Vote // refused at the newest place; at most one of a kind
	cause    error           // why it stopped
}

type phase uint8

const (
	looking phase = iota
	proving
	signing
	stopped
)

const (
	// absentBlocks is after how many commits in a row without its key a signer has to
	// prove again that it is the only one: it may have been cut off, and taken for lost.
	absentBlocks = 3
	// lookBlocks is how many commits are looked at at least, and lookMore how many more
	// at most, drawn, so that of two nodes that start at once one mostly comes first.
	lookBlocks = 4
	lookMore   = 3
)

// commits are the commits that the node itself verified; nil for one it has not.
type commits interface {
	LoadBlockCommit(height int64) *cmttypes.Commit // as the next block has it
	LoadSeenCommit(height int64) *cmttypes.Commit  // as this node saw it
}

var _ cmttypes.PrivValidator = (*signer)(nil)

// GetPubKey implements PrivValidator.
func (s *signer) GetPubKey() (crypto.PubKey, error) { return s.key.GetPubKey() }

// SignVote implements PrivValidator. What it refuses now it keeps: CometBFT asks only
// once, and a chain that stands waits for this very vote.
func (s *signer) SignVote(chain string, v *cmtproto.Vote) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readTo(v.Height)
	at := placeOf(v.Height, v.Round, v.Type)
	block := at.step == stepPrecommit && !cmttypes.ProtoBlockIDIsNil(&v.BlockID)
	switch {
	case s.cause != nil:
		return s.cause
	case s.phase == signing, s.phase == proving && block:
		return s.sign(chain, v)
	}
	s.hold(*v)
	return errNotYet
}

// SignProposal implements PrivValidator.
func (s *signer) SignProposal(chain string, p *cmtproto.Proposal) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readTo(p.Height)
	switch {
	case s.cause != nil:
		return s.cause
	case s.phase != signing:
		return errNotYet
	}
	return s.key.SignProposal(chain, p)
}

func (s *signer) sign(chain string, v *cmtproto.Vote) error {
	if err := s.key.SignVote(chain, v); err != nil {
		return err
	}
	s.made.add(v.Signature)
	return nil
}

// hold keeps a refused vote, of the newest height and round only.
func (s *signer) hold(v cmtproto.Vote) {
	if len(s.held) > 0 && (s.held[0].Height != v.Height || s.held[0].Round != v.Round || s.held[len(s.held)-1].Type == v.Type) {
		s.held = nil
	}
	s.held = append(s.held, v)
}

// readTo reads the commits that are to be had while a height is under way.
func (s *signer) readTo(height int64) {
	if s.begun == 0 {
		s.begun, s.read = height, height-1
		s.log.Info("looking whether another node signs with this key", "from", height)
	}
	for s.read < height-2 && s.phase != stopped {
		s.read++
		if c := s.blocks.LoadBlockCommit(s.read); c != nil {
			s.committed(c)
		}
	}
	if c := s.blocks.LoadSeenCommit(height - 1); c != nil {
		s.signature(c)
	}
}

// committed takes the one commit of a height into account.
func (s *signer) committed(c *cmttypes.Commit) {
	switch by := s.signature(c); {
	case s.phase == stopped:
	case by == mine:
		s.absent = 0
		if s.phase == proving {
			s.log.Info("the chain has this validator's signature: it signs")
			s.phase = signing
		}
	default:
		if c.Height >= s.freed {
			s.absent++
		}
		if s.phase == signing && s.absent >= absentBlocks {
			s.log.Warn("blocks were made without this validator: it proves anew that nobody else signs with its key", "blocks", s.absent)
			s.phase = proving
		}
		if s.phase == looking && c.Height >= s.begun+s.look-1 {
			s.phase = proving
			s.unmark()
		}
	}
}

// by says whose signature a commit has.
type by uint8

const (
	nobodys by = iota // none of this key, or one that does not tell anything
	mine              // of this process
)

// signature finds the key in a commit, and stops if it was another node that signed.
func (s *signer) signature(c *cmttypes.Commit) by {
	sig := signatureOf(s.key.Key.PubKey, s.chain, c)
	switch {
	case sig == nil:
		return nobodys
	case s.made.has(sig):
		return mine
	}
	s.foreign(s.begun, place{c.Height, c.Round, stepPrecommit}, sig)
	return nobodys
}

// foreign stops the signer for good if another node made a signature of its key, at
// a height from which on its home's earlier processes made none.
func (s *signer) foreign(from int64, at place, sig []byte) {
	if s.restored {
		from++ // the lost machine's last vote may be at the height under way
	}
	if at.height < from || !at.after(s.before) || s.made.has(sig) || s.phase == stopped {
		return
	}
	s.phase, s.held = stopped, nil
	s.cause = fmt.Errorf("block %d: %w: stop that node for good before this one is started, and never run two with one key: signing twice costs the stake", at.height, ErrSignsElsewhere)
	s.stop(s.cause)
}

// see takes votes of the key into account that the node hears of, and begins to look
// if it did not.
func (s *signer) see(height int64, votes []*cmttypes.Vote) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.readTo(height)
	for _, v := range votes {
		s.foreign(s.begun, placeOf(v.Height, v.Round, v.Type), v.Signature)
	}
}

// elsewhere takes a commit of another node into account, which that one made at a
// height from `from` on.
func (s *signer) elsewhere(from int64, c *cmttypes.Commit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if sig := signatureOf(s.key.Key.PubKey, s.chain, c); sig != nil {
		s.foreign(from, place{c.Height, c.Round, stepPrecommit}, sig)
	}
}

// waits reports whether signatures are held back.
func (s *signer) waits() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == looking || s.phase == proving
}

// looks reports whether nothing at all is signed yet.
func (s *signer) looks() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.phase == looking
}

// release ends the look in a chain that stands, and gives the votes that it may be
// waiting for.
func (s *signer) release(height int64) (votes []*cmttypes.Vote) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.phase != looking && s.phase != proving:
		return nil
	case s.restored:
		s.log.Warn("the chain stands, and this validator was restored from a copy: it does not sign at this height. If the chain waits for this validator's vote, and the lost machine surely cast none at this height, remove the file and start again",
			"height", height, "file", s.mark)
		return nil
	}
	s.log.Info("the chain stands, and may be waiting for this validator: it signs", "height", height)
	// If the commit of this height lacks it, the chain did not wait for it.
	s.phase, s.absent, s.freed = signing, absentBlocks-1, height
	for _, v := range s.held {
		if v.Height != height || s.sign(s.chain, &v) != nil {
			continue // the chain went on
		}
		// The key signs an extension of every precommit for a block. CometBFT takes that away
		// where it asks for a vote itself, and refuses a vote that has one: there are none here.
		v.Extension, v.ExtensionSignature = nil, nil
		if vote, err := cmttypes.VoteFromProto(&v); err == nil {
			votes = append(votes, vote)
		}
	}
	s.held = nil
	return votes
}

// unmark ends the care for a restored home: the chain moved on from where the lost
// machine may have voted.
func (s *signer) unmark() {
	if !s.restored {
		return
	}
	if err := os.Remove(s.mark); err != nil {
		s.log.Error("the mark of a restored home stays", "err", err)
	}
	s.restored = false
}

// place is where in a chain a signature belongs, as CometBFT's sign state has it.
type place struct {
	height int64
	round  int32
	step   int8
}

// Steps of a round in CometBFT's sign state.
const (
	stepPrevote   = 2
	stepPrecommit = 3
)

func placeOf(height int64, round int32, kind cmtproto.SignedMsgType) place {
	if kind == cmtproto.PrecommitType {
		return place{height, round, stepPrecommit}
	}
	return place{height, round, stepPrevote}
}

func (p place) after(q place) bool {
	switch {
	case p.height != q.height:
		return p.height > q.height
	case p.round != q.round:
		return p.round > q.round
	}
	return p.step > q.step
}

// signatureOf is a key's true signature in a commit, nil without one.
func signatureOf(key crypto.PubKey, chain string, c *cmttypes.Commit) []byte {
	for i, s := range c.Signatures {
		if s.BlockIDFlag == cmttypes.BlockIDFlagAbsent || !bytes.Equal(s.ValidatorAddress, key.Address()) {
			continue
		}
		if key.VerifySignature(c.VoteSignBytes(chain, int32(i)), s.Signature) {
			return s.Signature
		}
	}
	return nil
}

// maxMade is how many signatures are remembered: those of hundreds of rounds, while
// commits are read two blocks later.
const maxMade = 4096

// madeSignatures are the last signatures of this process.
type madeSignatures struct {
	known map[string]bool
	order []string // a ring
	next  int
}

func (m *madeSignatures) add(sig []byte) {
	if m.known == nil {
		m.known, m.order = make(map[string]bool), make([]string, maxMade)
	}
	if m.known[string(sig)] {
		return
	}
	delete(m.known, m.order[m.next])
	m.order[m.next], m.next = string(sig), (m.next+1)%maxMade
	m.known[string(sig)] = true
}

func (m *madeSignatures) has(sig []byte) bool { return m.known[string(sig)] }
