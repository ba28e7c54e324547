package member

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/gotong-network/gotong/internal/home"
)

// Join is a new member.
type Join struct {
	Dir     string
	Invite  *home.Invite
	Roles   []string
	KeyName string
	Key     *home.Key // the account; nil makes a new one
	// Passphrase encrypts the account's key; empty only in private networks.
	Passphrase string
	Settings   home.Settings
}

// Make makes the member's home. A home of the same network that plays other roles
// gets the new roles; one of another network, or of `gotong up`, is refused.
func (j Join) Make() (*home.Home, *home.Key, error) {
	h, err := home.Create(j.Dir, home.Info{Kind: home.Member, Chain: j.Invite.Chain, Key: j.KeyName, Roles: j.Roles, Private: j.Invite.Private})
	if err != nil {
		return nil, nil, err
	}
	k := j.Key
	if k == nil {
		if k, err = home.NewKey(j.KeyName); err != nil {
			return nil, nil, err
		}
	}
	_, perr := h.SeedKey("peer.key")
	if err := errors.Join(h.SaveKey(k, j.Passphrase), perr, j.saveFaucet(h), h.WriteSettings(j.Settings), h.WriteNetwork(j.Invite.Network())); err != nil {
		return nil, nil, err
	}
	return h, k, nil
}

// saveFaucet keeps a private network's faucet.
func (j Join) saveFaucet(h *home.Home) error {
	if j.Invite.Faucet == "" {
		return nil
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
