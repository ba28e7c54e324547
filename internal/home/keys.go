package home

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"sort"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/cosmos/btcutil/bech32"
	"github.com/decred/dcrd/dcrec/secp256k1/v4"
	"golang.org/x/crypto/ripemd160" //lint:ignore SA1019 the address format of the ecosystem's wallets demands it

	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
)

// Bech32Prefix starts every account address.
const Bech32Prefix = "gotong"

// Key is an account key (secp256k1) with its secret.
type Key struct {
	Name    string
	Address work.Address
	secret  []byte // 32 bytes
}

// KeyInfo is what may be shown of a key.
type KeyInfo struct {
	Name      string       `json:"name"`
	Address   work.Address `json:"address"`
	Encrypted bool         `json:"encrypted"`
}

// keyFile is keys/NAME.json. Exactly one of Plain and Encrypted is set.
type keyFile struct {
	Format    int          `json:"format"`
	Name      string       `json:"name"`
	Address   work.Address `json:"address"`
	Plain     string       `json:"plain_local_network_only,omitempty"` // hex; of local and private networks
	Encrypted string       `json:"encrypted,omitempty"`                // armored age, scrypt passphrase
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)

// NewKey makes a fresh key.
func NewKey(name string) (*Key, error) {
	k, err := secp256k1.GeneratePrivateKey()
	if err != nil {
		return nil, err
	}
	return keyOf(name, k.Serialize())
}

// Secret gives the 32 secret bytes, to sign with; they must not be logged.
func (k *Key) Secret() []byte { return bytes.Clone(k.secret) }

// String hides the secret.
func (k *Key) String() string { return k.Name + " " + string(k.Address) }

// GoString hides the secret from %#v.
func (k *Key) GoString() string { return k.String() }

func keyOf(name string, secret []byte) (*Key, error) {
	if !nameForm.MatchString(name) {
		return nil, fmt.Errorf("key name %q: use letters, digits, - and _, at most 64", name)
	}
	if len(secret) != 32 {
		return nil, errors.New("an account key has 32 secret bytes")
	}
	a, err := addressOf(secp256k1.PrivKeyFromBytes(secret).PubKey().SerializeCompressed())
	return &Key{name, a, secret}, err
}

// addressOf is bech32(RIPEMD-160(SHA-256(compressed public key))), as all wallets
// of the ecosystem derive it.
func addressOf(pub []byte) (work.Address, error) {
	s := sha256.Sum256(pub)
	r := ripemd160.New()
	r.Write(s[:])
	five, err := bech32.ConvertBits(r.Sum(nil), 8, 5, true)
	if err != nil {
		return "", err
	}
	a, err := bech32.Encode(Bech32Prefix, five)
	return work.Address(a), err
}

// CheckAddress reports text that is not an account address.
func CheckAddress(s string) (work.Address, error) {
	hrp, data, err := bech32.Decode(s, 90)
	if err == nil && (hrp != Bech32Prefix || len(data) != 32) {
		err = errors.New("wrong prefix or length")
	}
	if err != nil {
		return "", fmt.Errorf("%q is not an account address (%s1…): %v", s, Bech32Prefix, err)
	}
	return work.Address(s), nil
}

// PlainKeys reports whether the home may keep account keys unencrypted: those of
// local and private networks, whose money is play money.
func (h *Home) PlainKeys() bool { return h.info.Kind == Local || h.info.Private }

// SaveKey writes a key. An empty passphrase is refused unless the home may keep
// plain keys.
func (h *Home) SaveKey(k *Key, passphrase string) error {
	path := h.keyPath(k.Name)
	if _, err := os.Stat(path); err == nil {
		return fmt.Errorf("key %q: %w: choose another name", k.Name, ErrExists)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f := keyFile{Format: 1, Name: k.Name, Address: k.Address}
	switch {
	case passphrase != "":
		text, err := seal(k.secret, passphrase)
		if err != nil {
			return err
		}
		f.Encrypted = text
	case h.PlainKeys():
		f.Plain = hex.EncodeToString(k.secret)
	default:
		return errors.New("a passphrase is needed: keys are kept unencrypted only in homes of local and private networks")
	}
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	return WriteFile(path, append(b, '\n'), 0o600)
}

// LoadKey reads a key; passphrase is asked only for an encrypted one.
func (h *Home) LoadKey(name string, passphrase func() (string, error)) (*Key, error) {
	f, err := h.readKey(name)
	if err != nil {
		return nil, err
	}
	var secret []byte
	if f.Encrypted == "" {
		secret, err = hex.DecodeString(f.Plain)
	} else {
		var p string
		if p, err = passphrase(); err == nil {
			secret, err = open(f.Encrypted, p)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", name, err)
	}
	k, err := keyOf(name, secret)
	if err != nil || k.Address != f.Address {
		return nil, fmt.Errorf("key %q: %w: secret and address of %s do not fit; restore it from a copy", name, ErrDamaged, h.keyPath(name))
	}
	return k, nil
}

// Keys lists the home's keys by name.
func (h *Home) Keys() ([]KeyInfo, error) {
	es, err := os.ReadDir(h.Path("keys"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out []KeyInfo
	for _, e := range es {
		name, ok := strings.CutSuffix(e.Name(), ".json")
		if !ok || strings.HasPrefix(name, ".") {
			continue
		}
		f, err := h.readKey(name)
		if err != nil {
			return nil, err
		}
		out = append(out, KeyInfo{f.Name, f.Address, f.Encrypted != ""})
	}
	sort.Slice(out, func(i, j int) bool { return out[i].Name < out[j].Name })
	return out, nil
}

// ExportKey gives a key as an armored, passphrase-encrypted text for another
// machine.
func ExportKey(k *Key, passphrase string) (string, error) {
	if passphrase == "" {
		return "", errors.New("an exported key needs a passphrase")
	}
	return seal(k.secret, passphrase)
}

// ImportKey reads what ExportKey gave.
func ImportKey(name, text, passphrase string) (*Key, error) {
	secret, err := open(text, passphrase)
	if err != nil {
		return nil, err
	}
	return keyOf(name, secret)
}

func (h *Home) keyPath(name string) string { return h.Path("keys", name+".json") }

func (h *Home) readKey(name string) (*keyFile, error) {
	if !nameForm.MatchString(name) {
		return nil, fmt.Errorf("key %q: %w", name, ErrNoKey)
	}
	b, err := os.ReadFile(h.keyPath(name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("key %q: %w: `gotong keys list` shows what there is", name, ErrNoKey)
	}
	if err != nil {
		return nil, fmt.Errorf("key %q: %w", name, unreadable(h.keyPath(name), err))
	}
	var f keyFile
	if err := json.Unmarshal(b, &f); err != nil || (f.Plain == "") == (f.Encrypted == "") {
		return nil, fmt.Errorf("key %q: %w: %s cannot be read; restore it from a copy", name, ErrDamaged, h.keyPath(name))
	}
	return &f, nil
}

func seal(secret []byte, passphrase string) (string, error) {
	r, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return "", err
	}
	var buf bytes.Buffer
	aw := armor.NewWriter(&buf)
	w, err := age.Encrypt(aw, r)
	if err != nil {
		return "", err
	}
	if _, err := w.Write(secret); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	if err := aw.Close(); err != nil {
		return "", err
	}
	return buf.String(), nil
}

// ErrPassphrase reports a passphrase that does not open a key.
var ErrPassphrase = errors.New("wrong passphrase")

func open(text, passphrase string) ([]byte, error) {
	secret, err := openSealed(text, passphrase, 64)
	if err != nil && !errors.Is(err, ErrPassphrase) {
		return nil, fmt.Errorf("not a key exported by gotong: %w", err)
	}
	return secret, err
}

// openSealed decrypts at most max bytes of what seal gave.
func openSealed(text, passphrase string, max int64) ([]byte, error) {
	id, err := age.NewScryptIdentity(passphrase)
	if err != nil {
		return nil, ErrPassphrase
	}
	r, err := age.Decrypt(armor.NewReader(strings.NewReader(text)), id)
	if err != nil {
		var no *age.NoIdentityMatchError
		if errors.As(err, &no) {
			return nil, ErrPassphrase
		}
		return nil, err
	}
	return io.ReadAll(io.LimitReader(r, max))
}

// ClientKey is the key that this home's jobs name: who may ask an indexer about
// them. It holds no money, so it is kept unencrypted, readable by its owner only.
func (h *Home) ClientKey() (sign.PrivateKey, error) {
	k, err := h.SeedKey("client", "key")
	if errors.Is(err, ErrDamaged) {
		return k, fmt.Errorf("%w; or remove it and lose the way to running jobs", err)
	}
	return k, err
}

// SeedKey is the key whose seed a file of the home holds, in hex. It is made when it
// is first asked for; of two processes that do so at once, one wins and both use
// its key. Only keys that hold no money are kept so. A file that holds no seed is
// ErrDamaged.
func (h *Home) SeedKey(parts ...string) (sign.PrivateKey, error) {
	path := h.Path(parts...)
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := makeSeed(path); err != nil {
			return sign.PrivateKey{}, err
		}
		b, err = os.ReadFile(path)
	}
	if err != nil {
		return sign.PrivateKey{}, unreadable(path, err)
	}
	var seed [32]byte
	if n, err := hex.Decode(seed[:], bytes.TrimSpace(b[:min(len(b), 65)])); err != nil || n != len(seed) {
		return sign.PrivateKey{}, fmt.Errorf("%s: %w: want 64 hex digits; restore it from a copy", path, ErrDamaged)
	}
	return sign.FromSeed(seed), nil
}

// makeSeed writes a new seed, unless another process was faster.
func makeSeed(path string) error {
	k, err := sign.NewKey()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	seed := k.Seed()
	tmp := fmt.Sprintf("%s.%d", path, os.Getpid())
	if err := WriteFile(tmp, []byte(hex.EncodeToString(seed[:])+"\n"), 0o600); err != nil {
		return err
	}
	defer os.Remove(tmp)
	if err := os.Link(tmp, path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}
