package member

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"

	"github.com/gotong-network/gotong/internal/home"
)

// Join is a new member, or a member's new roles.
type Join struct {
	Dir     string
	Invite  *home.Invite
	Roles   []string // none: as they are
	KeyName string   // of a new home's account
	// Passphrase encrypts a new account's key; empty only in private networks.
	Passphrase string
	Settings   home.Settings // what is zero stays as it is
}

// Make makes the member's home and gives its account. A home of the same network
// gets the new roles and settings; one of another network, or of `gotong up`, is
// refused.
func (j Join) Make() (*home.Home, home.KeyInfo, error) {
	h, err := home.Open(j.Dir)
	if errors.Is(err, home.ErrAbsent) {
		h, err = j.create()
	}
	if err != nil {
		return nil, home.KeyInfo{}, err
	}
	switch i := h.Info(); {
	case i.Kind != home.Member:
		return nil, home.KeyInfo{}, fmt.Errorf("%s is the %w", h.Dir(), ErrLocal)
	case i.Chain != j.Invite.Chain:
		return nil, home.KeyInfo{}, fmt.Errorf("%s is a member of %s: %w", h.Dir(), i.Chain, home.ErrExists)
	}
	if err := j.complete(h); err != nil {
		return nil, home.KeyInfo{}, err
	}
	keys, err := h.Keys()
	if err != nil {
		return nil, home.KeyInfo{}, err
	}
	i := slices.IndexFunc(keys, func(k home.KeyInfo) bool { return k.Name == h.Info().Key })
	if i < 0 {
		return nil, home.KeyInfo{}, fmt.Errorf("key %q: %w", h.Info().Key, home.ErrNoKey)
	}
	return h, keys[i], nil
}

// create makes a home with a new account.
func (j Join) create() (*home.Home, error) {
	k, err := home.NewKey(j.KeyName)
	if err != nil {
		return nil, err
	}
	h, err := home.Create(j.Dir, home.Info{Kind: home.Member, Chain: j.Invite.Chain, Key: j.KeyName, Roles: j.Roles, Private: j.Invite.Private})
	if err != nil {
		return nil, err
	}
	if err := h.SaveKey(k, j.Passphrase); err != nil {
		return nil, errors.Join(err, os.Remove(h.Path("home.json"))) // so that it can be tried again
	}
	return h, nil
}

// complete writes what the invite and the settings say.
func (j Join) complete(h *home.Home) error {
	if len(j.Roles) > 0 && !slices.Equal(j.Roles, h.Info().Roles) {
		if err := h.SetRoles(j.Roles); err != nil {
			return err
		}
	}
	s, err := h.ReadSettings()
	if err != nil {
		return err
	}
	s = merge(s, j.Settings)
	_, perr := h.SeedKey("peer.key")
	return errors.Join(perr, j.saveFaucet(h), h.WriteSettings(s), j.writeNetwork(h, s))
}

// merge lays new settings over old ones.
func merge(s, n home.Settings) home.Settings {
	if len(n.Listen) > 0 {
		s.Listen = n.Listen
	}
	for _, f := range []struct{ to, from *string }{
		{&s.Reach, &n.Reach}, {&s.RPC, &n.RPC}, {&s.ChainP2P, &n.ChainP2P}, {&s.Price, &n.Price}, {&s.Bond, &n.Bond}, {&s.Stake, &n.Stake}, {&s.Metrics, &n.Metrics},
	} {
		if *f.from != "" {
			*f.to = *f.from
		}
	}
	s.Relay, s.Light, s.StateSync = s.Relay || n.Relay, s.Light || n.Light, s.StateSync || n.StateSync
	if n.Slots > 0 {
		s.Slots = n.Slots
	}
	if len(n.Limits) > 0 {
		s.Limits = n.Limits
	}
	return s
}

// writeNetwork keeps what the invite says; a validator asks its own node first.
func (j Join) writeNetwork(h *home.Home, s home.Settings) error {
	n := j.Invite.Network()
	if old, err := h.ReadNetwork(); err == nil {
		n.Indexer, n.IndexerOwner = old.Indexer, old.IndexerOwner
		if n.TrustHeight < old.TrustHeight {
			n.TrustHeight, n.TrustHash = old.TrustHeight, old.TrustHash
		}
	} else if !errors.Is(err, home.ErrAbsent) {
		return err
	}
	if h.Info().Has(home.RoleValidator) {
		n.RPC = OwnRPC(s)
	}
	return h.WriteNetwork(n)
}

// Where a validator listens if its owner says nothing.
const (
	DefaultRPC      = "127.0.0.1:26657"
	DefaultChainP2P = "0.0.0.0:26656"
)

// OwnRPC is the URL at which a validator's own machine reaches its RPC server.
func OwnRPC(s home.Settings) string {
	at := s.RPC
	if at == "" {
		at = DefaultRPC
	}
	if host, port, err := net.SplitHostPort(at); err == nil {
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			at = net.JoinHostPort("127.0.0.1", port)
		}
	}
	return "http://" + at
}

// saveFaucet keeps a private network's faucet, if the home has none yet.
func (j Join) saveFaucet(h *home.Home) error {
	if j.Invite.Faucet == "" {
		return nil
	}
	if _, err := os.Lstat(h.Path("keys", FaucetKey+".json")); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	b, err := hex.DecodeString(j.Invite.Faucet)
	if err != nil || len(b) != 32 {
		return fmt.Errorf("%w: its faucet is no key", home.ErrInvite)
	}
	k, err := home.KeyFromSecret(FaucetKey, [32]byte(b))
	if err != nil {
		return err
	}
	return h.SaveKey(k, "")
}
