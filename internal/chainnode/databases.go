package chainnode

import (
	"sync"

	cmtdb "github.com/cometbft/cometbft-db"
	cmtcfg "github.com/cometbft/cometbft/config"
)

// databases remembers what CometBFT opened: it leaves some open.
type databases struct {
	mu  sync.Mutex // guards all
	all []cmtdb.DB
}

func (d *databases) open(c *cmtcfg.DBContext) (cmtdb.DB, error) {
	db, err := cmtcfg.DefaultDBProvider(c)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	quiet := &quietDB{DB: db}
	d.all = append(d.all, quiet)
	return quiet, nil
}

// close closes what is still open; closing twice is no fault.
func (d *databases) close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, db := range d.all {
		_ = db.Close()
	}
	return nil
}

// quietDB is a database that has nothing once it is closed. CometBFT closes its
// databases while the routines of its peers still read, and a read of a closed one
// ends the process; what is not there they take for pruned.
type quietDB struct {
	cmtdb.DB

	mu     sync.RWMutex // held for reading during a read; guards closed
	closed bool
}

// Get implements cmtdb.DB.
func (q *quietDB) Get(key []byte) ([]byte, error) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if q.closed {
		return nil, nil
	}
	return q.DB.Get(key)
}

// Has implements cmtdb.DB.
func (q *quietDB) Has(key []byte) (bool, error) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if q.closed {
		return false, nil
	}
	return q.DB.Has(key)
}

// Close implements cmtdb.DB; it waits for the reads under way.
func (q *quietDB) Close() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return nil
	}
	q.closed = true
	return q.DB.Close()
}
