package app

import (
	"errors"
	"fmt"

	dbm "github.com/cosmos/cosmos-db"

	"github.com/cosmos/cosmos-sdk/store/v2/rootmulti"
)

// wholeDB is a database whose batches are written as a whole.
//
// Each tree of the state writes a block's version as one batch, but in parts of 100 kB
// where that is larger, and its root last (iavl's BatchWithFlusher). A node that was
// killed between two parts had a version without a root, which it could neither load nor
// write again: it ended with a panic at every start. What one block changes, or a pruning
// takes away, waits in memory. Only what is over wholeBytes is still written in parts: the
// index of a large state that was received, which is begun anew if it is not whole.
type wholeDB struct{ dbm.DB }

func (d wholeDB) NewBatch() dbm.Batch { return wholeBatch{d.DB.NewBatch()} }

func (d wholeDB) NewBatchWithSize(bytes int) dbm.Batch {
	return wholeBatch{d.DB.NewBatchWithSize(bytes)}
}

// wholeBytes is how much one batch holds: many times what the messages of one block
// change.
const wholeBytes = 256 << 20

type wholeBatch struct{ dbm.Batch }

// GetByteSize is what of a batch is over wholeBytes, which is what its writer looks at.
func (b wholeBatch) GetByteSize() (int, error) {
	n, err := b.Batch.GetByteSize()
	return n - wholeBytes, err
}

// clearBytes is about how much is deleted at once.
const clearBytes = 1 << 20

// clearUncommitted empties a database that has no committed height. What is in it was
// left by a process that was killed in its first block, or while it received a snapshot:
// the trees would take it for their newest version.
func clearUncommitted(db dbm.DB) error {
	if rootmulti.GetLatestVersion(db) != 0 {
		return nil
	}
	for more := true; more; {
		var err error
		if more, err = clearSome(db); err != nil {
			return fmt.Errorf("app: clear what was not committed: %w", err)
		}
	}
	return nil
}

// clearSome deletes the first keys and reports whether there are more.
func clearSome(db dbm.DB) (more bool, err error) {
	keys, err := db.Iterator(nil, nil)
	if err != nil {
		return false, err
	}
	b := db.NewBatch()
	defer func() { err = errors.Join(err, b.Close()) }()
	for n := 0; keys.Valid() && n < clearBytes; keys.Next() {
		n += len(keys.Key())
		if err := b.Delete(keys.Key()); err != nil {
			return false, errors.Join(err, keys.Close())
		}
	}
	more = keys.Valid()
	if err := errors.Join(keys.Error(), keys.Close()); err != nil { // before the write: some databases lock
		return false, err
	}
	return more, b.WriteSync()
}
