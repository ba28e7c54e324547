package home

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/gotong-network/gotong/internal/version"
)

// Backup is what must survive the loss of a machine: who a member is and what money
// it has. What it was working on is not in it.
type Backup struct {
	Format int               `json:"format"` // 1
	Made   time.Time         `json:"made"`
	Info   Info              `json:"info"`
	Files  map[string][]byte `json:"files"` // by path below the home
}

// Bounds of a backup.
const (
	maxBackup     = 32 << 20
	maxBackupFile = 16 << 20
	maxBackupKeys = 1000
)

// ErrBackup reports bytes that are no backup.
var ErrBackup = errors.New("not a backup made by gotong")

// identity are the files that a backup has, where they exist: keys (of accounts as
// they are in the home, encrypted or not), the peer's and a validator's; the last
// vote of the validator, so that it never signs twice; and where the network is.
var identity = []string{
	"network.json", "node.json", "peer.key", "client/key", "validator.json",
	"chain/config/priv_validator_key.json", "chain/config/node_key.json", "chain/config/vrf_key", "chain/config/genesis.json",
	validatorState,
}

// validatorState is where CometBFT keeps the last vote.
const validatorState = "chain/data/priv_validator_state.json"

// restoredMark tells the chain node that the last vote in this home may not be the
// last one of its key.
const restoredMark = "chain/data/restored"

// IsValidator reports whether the backup holds the key of a validator.
func (b *Backup) IsValidator() bool { return b.Files["chain/config/priv_validator_key.json"] != nil }

// Backup reads what is to be kept of a home.
func (h *Home) Backup(now time.Time) (*Backup, error) {
	if h.info.Kind != Member {
		return nil, fmt.Errorf("%s holds a local network: its money is play money, and a copy of the whole folder is its backup", h.dir)
	}
	b := &Backup{Format: 1, Made: now.UTC(), Info: h.info, Files: map[string][]byte{}}
	names := append([]string(nil), identity...)
	keys, err := h.Keys()
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		names = append(names, "keys/"+k.Name+".json")
	}
	for _, name := range names {
		data, err := os.ReadFile(h.Path(filepath.FromSlash(name)))
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return nil, unreadable(h.Path(name), err)
		case len(data) > maxBackupFile:
			return nil, fmt.Errorf("%s has %d bytes: at most %d fit into a backup", h.Path(name), len(data), maxBackupFile)
		}
		b.Files[name] = data
	}
	return b, nil
}

// Seal encrypts a backup with a passphrase.
func (b *Backup) Seal(passphrase string) (string, error) {
	if passphrase == "" {
		return "", errors.New("a backup needs a passphrase")
	}
	data, err := json.Marshal(b)
	if err != nil {
		return "", err
	}
	return seal(data, passphrase)
}

// OpenBackup decrypts what Seal gave.
func OpenBackup(text, passphrase string) (*Backup, error) {
	data, err := openSealed(text, passphrase, maxBackup)
	if errors.Is(err, ErrPassphrase) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrBackup, err)
	}
	var b Backup
	if err := json.Unmarshal(data, &b); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrBackup, err)
	}
	if b.Format != 1 || b.Info.Format != version.HomeFormat || b.Info.Kind != Member || CheckChain(b.Info.Chain) != nil {
		return nil, fmt.Errorf("%w: it has format %d of a %s home of format %d", ErrBackup, b.Format, b.Info.Kind, b.Info.Format)
	}
	keys := 0
	for name := range b.Files {
		if !inBackup(name) {
			return nil, fmt.Errorf("%w: it holds %.100q", ErrBackup, name)
		}
		if strings.HasPrefix(name, "keys/") {
			keys++
		}
	}
	if keys == 0 || keys > maxBackupKeys {
		return nil, fmt.Errorf("%w: it holds %d account keys", ErrBackup, keys)
	}
	return &b, nil
}

// inBackup reports whether a file may be in a backup.
func inBackup(name string) bool {
	for _, n := range identity {
		if n == name {
			return true
		}
	}
	key, ok := strings.CutPrefix(name, "keys/")
	key, suffix := strings.CutSuffix(key, ".json")
	return ok && suffix && nameForm.MatchString(key)
}

// Restore makes a home from a backup; an existing one is ErrExists.
func (b *Backup) Restore(dir string) (*Home, error) {
	if _, err := os.Stat(filepath.Join(dir, "home.json")); err == nil {
		return nil, fmt.Errorf("home %s: %w: restore into a new folder", dir, ErrExists)
	}
	files := maps.Clone(b.Files)
	if b.IsValidator() {
		files[restoredMark] = []byte(b.Made.Format(time.RFC3339) + "\n")
	}
	for name, data := range files {
		path := filepath.Join(dir, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return nil, err
		}
		if err := WriteFile(path, data, 0o600); err != nil {
			return nil, err
		}
	}
	return Create(dir, b.Info) // last: what was cut off can be tried again
}
