package lifecycle

import (
	"errors"
	"slices"

	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// A job outlives its indexer: another bonded one takes it over when nothing was
// committed for a while and the present one does not answer, and the client may name
// another at any time. What an earlier indexer signed still commits for a while.

// Bounds of hand-overs.
const (
	// MaxSigners is how many indexers a job remembers. The oldest makes room once what
	// it signed can no longer commit.
	MaxSigners = 8
	// MaxKeeps is how often an indexer may answer claims while nothing is committed:
	// who only talks cannot hold a job.
	MaxKeeps = 2
)

// Signer is an indexer of a job: the key that signs assignments, and the account that
// answers for it and gets its fee.
type Signer struct {
	Key   sign.PublicKey `json:"key"`
	Owner work.Address   `json:"owner"`
	Since int64          `json:"since"`
	// Until is the last height at which what it signed commits; 0: it is the job's
	// indexer.
	Until       int64 `json:"until,omitempty"`
	Equivocated bool  `json:"equivocated,omitempty"` // it was convicted of it, once for all
}

// Takeover is an indexer's claim to a job.
type Takeover struct {
	Key      sign.PublicKey `json:"key"`
	Owner    work.Address   `json:"owner"`
	Stake    work.Amount    `json:"stake"`    // locked in the claimant's bond
	Deadline int64          `json:"deadline"` // last height of the indexer's answer
}

// Signers are the indexers that the job had, as far as it remembers them, the
// present one last.
func (j *Job) Signers() []Signer {
	if len(j.Indexers) > 0 {
		return j.Indexers
	}
	return []Signer{{Key: j.Spec.Indexer, Owner: j.Spec.IndexerOwner, Since: j.PostedHeight}}
}

// Indexer is the job's indexer.
func (j *Job) Indexer() Signer { l := j.Signers(); return l[len(l)-1] }

// Signer is what the job remembers of a key; false if it never was its indexer's, or
// long ago.
func (j *Job) Signer(key sign.PublicKey) (Signer, bool) {
	for _, s := range j.Signers() {
		if s.Key == key {
			return s, true
		}
	}
	return Signer{}, false
}

// IndexedBy reports whether an account owns an indexer that the job has or had.
func (j *Job) IndexedBy(a work.Address) bool {
	return slices.ContainsFunc(j.Signers(), func(s Signer) bool { return s.Owner == a })
}

// Convicted reports whether no indexer of the job can be convicted of equivocation
// any more.
func (j *Job) Convicted() bool {
	return !slices.ContainsFunc(j.Signers(), func(s Signer) bool { return !s.Equivocated })
}

// Progress is the height since which the job waits for its indexer: of its last
// commit, or of the last answer or change of its indexer.
func (j *Job) Progress() int64 { return max(j.PostedHeight, j.CommitHeight, j.AnswerHeight) }

// signs reports whether an assignment of s that expires at a height may be committed.
func (s *Signer) signs(expires int64) bool { return s.Until == 0 || expires <= s.Until }

// appoint makes key the job's indexer, or reports why it cannot be.
func (j *Job) appoint(key sign.PublicKey, owner work.Address, height int64, p Params) error {
	l := slices.Clone(j.Signers())
	last := &l[len(l)-1]
	if last.Key == key {
		return refused("job %s has this indexer already", j.ID.Short())
	}
	last.Until = height + p.ClosingBlocks
	if k := slices.IndexFunc(l, func(s Signer) bool { return s.Key == key }); k >= 0 { // it had the job before
		if l[k].Equivocated {
			return refused("this indexer signed items of job %s to two providers: it does not get the job again", j.ID.Short())
		}
		l = slices.Delete(l, k, k+1)
	}
	if len(l) >= MaxSigners && l[0].Until < height {
		l = l[1:]
	}
	if len(l) >= MaxSigners {
		return refused("job %s had %d indexers whose assignments may still commit: wait until height %d", j.ID.Short(), len(l), l[0].Until+1)
	}
	j.Indexers = append(l, Signer{Key: key, Owner: owner, Since: height})
	j.AnswerHeight, j.Kept = height, 0
	return nil
}

// TakeOver claims a job in which nothing was committed for TakeoverIdleBlocks. Its
// indexer has TakeoverAnswerBlocks to answer (KeepJob); if it does not, the claimant
// is the job's indexer from then on. The claimant stakes TakeoverStake of its bond,
// which an indexer gets that answers and under which something was committed.
func (m Machine) TakeOver(owner work.Address, id work.JobID) error {
	p, err := m.S.Params()
	if err != nil {
		return err
	}
	j, err := m.job(id)
	if err != nil {
		return err
	}
	q, err := m.S.Party(RoleIndexer, owner)
	if errors.Is(err, ErrNotFound) {
		return refused("%s is not registered as an indexer", owner)
	}
	if err != nil {
		return err
	}
	if err := j.claimable(q, m.S.Height(), p); err != nil {
		return err
	}
	q.Locked += p.TakeoverStake
	j.Takeover = &Takeover{Key: q.Peer, Owner: owner, Stake: p.TakeoverStake, Deadline: m.S.Height() + p.TakeoverAnswerBlocks}
	if err := m.setParty(q); err != nil {
		return err
	}
	if err := m.S.WakeJob(j.Takeover.Deadline, id); err != nil {
		return err
	}
	return m.setJob(j)
}

// claimable reports why an indexer may not claim the job.
func (j *Job) claimable(q *Party, height int64, p Params) error {
	idle := height - j.Progress()
	switch {
	case j.Commons:
		return refused("job %s belongs to the commons: nobody hands out its items", j.ID.Short())
	case j.State != JobOpen:
		return refused("job %s is not open: there is nothing to hand out", j.ID.Short())
	case j.Takeover != nil:
		return refused("%s has claimed job %s until height %d", j.Takeover.Owner, j.ID.Short(), j.Takeover.Deadline)
	case idle < p.TakeoverIdleBlocks:
		return refused("job %s went on %d blocks ago: it may be claimed after %d", j.ID.Short(), idle, p.TakeoverIdleBlocks)
	case q.staying() < p.IndexerBond || q.Free() < p.TakeoverStake:
		return refused("indexer %s has a bond of %s, of which %s is free: a claim needs %s, and %s of it free", q.Account, q.staying(), q.Free(), p.IndexerBond, p.TakeoverStake)
	}
	try := *j
	return try.appoint(q.Peer, q.Account, height, p)
}

// KeepJob answers a claim to a job of the sender's. The claimant's stake is the
// sender's if something was committed since it got the job or last answered, else the
// claimant keeps it: and after MaxKeeps such answers in a row no further one counts.
func (m Machine) KeepJob(owner work.Address, id work.JobID) error {
	j, err := m.job(id)
	if err != nil {
		return err
	}
	switch {
	case j.Indexer().Owner != owner:
		return refused("%s does not index job %s", owner, id.Short())
	case j.Takeover == nil:
		return refused("nobody has claimed job %s", id.Short())
	case j.Kept >= MaxKeeps:
		return refused("the indexer of job %s has answered %d times, and nothing was committed: the claim stands", id.Short(), j.Kept)
	}
	if j.CommitHeight > j.AnswerHeight {
		err = m.loseClaim(j)
	} else {
		err = m.dropClaim(j)
	}
	if err != nil {
		return err
	}
	j.AnswerHeight = m.S.Height()
	j.Kept++
	return m.setJob(j)
}

// Reassign names another indexer for a job of the sender's, at once: a bonded one, or
// the client itself. Of a job that has ended it gets the results only.
func (m Machine) Reassign(client work.Address, id work.JobID, key sign.PublicKey, owner work.Address) error {
	p, err := m.S.Params()
	if err != nil {
		return err
	}
	j, err := m.job(id)
	if err != nil {
		return err
	}
	switch {
	case j.Commons:
		return refused("job %s belongs to the commons", id.Short())
	case j.Spec.Client != client:
		return refused("job %s belongs to %s", id.Short(), j.Spec.Client)
	case key.IsZero() || owner == "" || len(owner) > 128:
		return refused("no indexer is named")
	}
	if err := m.checkIndexer(client, key, owner, p); err != nil {
		return err
	}
	if err := j.appoint(key, owner, m.S.Height(), p); err != nil {
		return err
	}
	if err := m.dropClaim(j); err != nil {
		return err
	}
	return m.setJob(j)
}

// claimDue hands a job to who claimed it, if nobody answered; changed says that there
// was such a claim. A claimant whose bond went meanwhile gets nothing.
func (m Machine) claimDue(j *Job) (changed bool, err error) {
	if j.Takeover == nil || m.S.Height() < j.Takeover.Deadline {
		return false, nil
	}
	c := *j.Takeover
	if err := m.dropClaim(j); err != nil {
		return false, err
	}
	p, err := m.S.Params()
	if err != nil {
		return false, err
	}
	err = m.checkIndexer("", c.Key, c.Owner, p)
	if err == nil {
		err = j.appoint(c.Key, c.Owner, m.S.Height(), p)
	}
	if errors.Is(err, ErrRefused) {
		err = nil
	}
	return true, err
}

// dropClaim ends a claim and frees its stake.
func (m Machine) dropClaim(j *Job) error {
	if j.Takeover == nil {
		return nil
	}
	q, err := m.S.Party(RoleIndexer, j.Takeover.Owner)
	if err != nil {
		return err
	}
	q.Locked -= min(q.Locked, j.Takeover.Stake)
	j.Takeover = nil
	return m.setParty(q)
}

// loseClaim ends a claim and gives its stake to the indexer that answered.
func (m Machine) loseClaim(j *Job) error {
	c := *j.Takeover
	q, err := m.S.Party(RoleIndexer, c.Owner)
	if err != nil {
		return err
	}
	lost := min(c.Stake, q.Bond)
	q.Locked -= min(q.Locked, c.Stake)
	q.lose(lost)
	j.Takeover = nil
	from := Transfer{FromPot: PotBond, From: c.Owner, Role: RoleIndexer}
	if err := m.pay(j, nil, from.to(PotAccount, j.Indexer().Owner, lost, ReasonClaim)); err != nil {
		return err
	}
	return m.setParty(q)
}
