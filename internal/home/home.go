// Package home owns a home directory: which network it belongs to, its keys, and
// the lock that keeps two processes from running one home.
//
// It promises that nothing is overwritten silently, that files are replaced
// atomically, that private keys are written encrypted (age, scrypt) unless the
// home is a local network's own, and that a home of another version, a damaged
// one, or one in use is told apart from an absent one. It never talks to the
// network, and never prints or logs a key.
package home

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"

	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/internal/version"
	"github.com/gotong-network/gotong/work"
)

// What callers branch on.
var (
	ErrAbsent  = errors.New("home is not set up")
	ErrInUse   = errors.New("home is in use by another process")
	ErrVersion = errors.New("home was made by another version")
	ErrDamaged = errors.New("home is damaged")
	ErrNoKey   = errors.New("no such key")
	ErrExists  = errors.New("exists already")
	// ErrUnreadable is a file that this user may not read.
	ErrUnreadable = errors.New("file cannot be read by this user")
)

// Kind says what a home is for.
type Kind string

// The kinds of homes. A local home holds a whole network and plain keys; it never
// joins another network, and the other way round.
const (
	Local  Kind = "local"
	Member Kind = "member"
)

// Info is home.json.
type Info struct {
	Format int    `json:"format"`
	Kind   Kind   `json:"kind"`
	Chain  string `json:"chain"`
	Key    string `json:"key"` // name of the default key
	// Roles that a member plays; none is a client's home.
	Roles []string `json:"roles,omitempty"`
	// Private: of a private network, whose keys may be kept unencrypted.
	Private bool `json:"private,omitempty"`
}

// Network is network.json: where the network of this home answers. In a local
// network's home it is rewritten by each start of `gotong up`; in a member's it
// is what the invite said, with what was learned since.
type Network struct {
	Chain        string       `json:"chain"`
	RPC          string       `json:"rpc"` // http://host:port of a chain node
	Indexer      p2p.Peer     `json:"indexer,omitzero"`
	IndexerOwner work.Address `json:"indexer_owner,omitempty"`
	Referees     []p2p.Peer   `json:"referees,omitempty"` // who give outputs that a claim made them fetch
	Pid          int          `json:"pid,omitempty"`

	// Of a member only.
	RPCs        []string   `json:"rpcs,omitempty"`         // http://host:port of nodes, none trusted more than the others
	Bootstrap   []p2p.Peer `json:"bootstrap,omitempty"`    // the first peers of this network
	ChainPeers  []string   `json:"chain_peers,omitempty"`  // id@host:port of chain nodes
	TrustHeight int64      `json:"trust_height,omitempty"` // of a header that is taken for true; 0: none yet
	TrustHash   string     `json:"trust_hash,omitempty"`   // its hash, in hex
	Genesis     string     `json:"genesis,omitempty"`      // SHA-256 of the genesis file, in hex
	BlockMillis int64      `json:"block_millis,omitempty"` // wait between blocks of this network
}

// Home is a home directory.
type Home struct {
	dir  string
	info Info
	lock *flock.Flock
}

// Default is ~/.gotong.
func Default() string {
	d, err := os.UserHomeDir()
	if err != nil {
		return ".gotong"
	}
	return filepath.Join(d, ".gotong")
}

// Create sets up a new home; an existing one is ErrExists.
func Create(dir string, in Info) (*Home, error) {
	in.Format = version.HomeFormat
	if _, err := os.Stat(filepath.Join(dir, "home.json")); err == nil {
		return nil, fmt.Errorf("home %s: %w", dir, ErrExists)
	}
	if err := os.MkdirAll(filepath.Join(dir, "keys"), 0o700); err != nil {
		return nil, fmt.Errorf("set up home %s: %w", dir, err)
	}
	h := &Home{dir: dir, info: in}
	return h, h.writeJSON("home.json", in)
}

// Open opens an existing home without locking it.
func Open(dir string) (*Home, error) {
	b, err := os.ReadFile(filepath.Join(dir, "home.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: start a local network with `gotong up --home %s`, or join one with `gotong network join INVITE --home %s`",
			dir, ErrAbsent, dir, dir)
	}
	if err != nil {
		return nil, fmt.Errorf("home %s: %w", dir, unreadable(filepath.Join(dir, "home.json"), err))
	}
	h := &Home{dir: dir}
	if err := json.Unmarshal(b, &h.info); err != nil || h.info.Chain == "" || h.info.Kind != Local && h.info.Kind != Member {
		return nil, fmt.Errorf("%s: %w: home.json cannot be read; restore it from a copy, or move the folder away and start anew", dir, ErrDamaged)
	}
	if h.info.Format != version.HomeFormat {
		return nil, fmt.Errorf("%s: %w: it has format %d and this gotong (%s) uses %d; use the gotong that made it, or another --home",
			dir, ErrVersion, h.info.Format, version.String(), version.HomeFormat)
	}
	return h, nil
}

// Dir is the home's folder.
func (h *Home) Dir() string { return h.dir }

// Path is a path below the home.
func (h *Home) Path(elem ...string) string { return filepath.Join(append([]string{h.dir}, elem...)...) }

// Info is what the home is.
func (h *Home) Info() Info { return h.info }

// Lock takes the home for this process until Unlock; ErrInUse if another has it.
func (h *Home) Lock() error {
	h.lock = flock.New(h.Path("lock"))
	ok, err := h.lock.TryLock()
	if err != nil {
		return fmt.Errorf("lock home %s: %w", h.dir, unreadable(h.Path("lock"), err))
	}
	if !ok {
		return fmt.Errorf("%s: %w: stop it first, or use another --home", h.dir, ErrInUse)
	}
	return nil
}

// Unlock gives the home back.
func (h *Home) Unlock() error {
	if h.lock == nil {
		return nil
	}
	return h.lock.Unlock()
}

// Running reports whether a process holds the home's lock.
func (h *Home) Running() bool {
	l := flock.New(h.Path("lock"))
	ok, err := l.TryLock()
	if ok {
		_ = l.Unlock()
	}
	return err == nil && !ok
}

// WriteNetwork says where the network answers.
func (h *Home) WriteNetwork(n Network) error { return h.writeJSON("network.json", n) }

// ReadNetwork says where the network answers; ErrAbsent if it was never started.
func (h *Home) ReadNetwork() (Network, error) {
	var n Network
	b, err := os.ReadFile(h.Path("network.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return n, fmt.Errorf("the network of %s never ran: %w", h.dir, ErrAbsent)
	}
	if err == nil {
		err = json.Unmarshal(b, &n)
	}
	if err != nil {
		return n, fmt.Errorf("%s: %w: network.json: %v", h.dir, ErrDamaged, err)
	}
	return n, nil
}

func (h *Home) writeJSON(name string, v any) error {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(h.Path(name), append(b, '\n'), 0o600)
}

// WriteFile replaces a file atomically and durably.
func WriteFile(path string, data []byte, mode fs.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) // gone after the rename
	_, err = f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// unreadable says what to do about a file that this user may not read; other errors
// it leaves as they are.
func unreadable(path string, err error) error {
	if !errors.Is(err, fs.ErrPermission) {
		return err
	}
	return fmt.Errorf("%s: %w: run gotong as the user who owns it, or give it back (chown, chmod 600)", path, ErrUnreadable)
}
