package membercmd

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/member"
)

// NewInvite is the command that prints an invite to the home's network.
func NewInvite(e *Env) *cobra.Command {
	var noFaucet bool
	var out string
	c := noArgs("invite", "Print an invite to this home's network, with a header of today to trust", func(ctx context.Context) error {
		return runInvite(ctx, e, noFaucet, out)
	})
	c.Long = "Prints what a new member needs: nodes, first peers, and a recent header that most nodes tell.\n" +
		"In a private network it holds the faucet's key, unless --no-faucet leaves it out."
	c.Flags().BoolVar(&noFaucet, "no-faucet", false, "leave the key of a private network's play money out")
	c.Flags().StringVar(&out, "out", "", "file to write to (default: stdout)")
	return c
}

func runInvite(ctx context.Context, e *Env, noFaucet bool, out string) error {
	h, err := e.open()
	if err != nil {
		return err
	}
	n, err := h.ReadNetwork()
	if err != nil {
		return err
	}
	v := home.Invite{Format: 1, Chain: n.Chain, Private: h.Info().Private, Genesis: n.Genesis, RPCs: n.RPCs, Bootstrap: n.Bootstrap, ChainPeers: n.ChainPeers,
		BlockMillis: n.BlockMillis}
	var liars []string
	if v.TrustHeight, v.TrustHash, liars, err = member.Trust(ctx, n); err != nil {
		return err
	}
	for _, u := range liars {
		fmt.Fprintf(e.Errw, "Beware: %s tells another block %d than most nodes.\n", u, v.TrustHeight)
	}
	if !noFaucet {
		f, err := h.LoadKey(member.FaucetKey, func() (string, error) { return "", home.ErrNoKey })
		if err == nil {
			v.Faucet = hex.EncodeToString(f.Secret())
		} else if !errors.Is(err, home.ErrNoKey) {
			return err
		}
	}
	b, err := v.Encode()
	if err != nil {
		return err
	}
	if out == "" || out == "-" {
		_, err = e.Out.Write(b)
		return err
	}
	f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return usagef("--out: %w", err)
	}
	_, err = f.Write(b)
	return errors.Join(err, f.Close())
}
