package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/work"
)

func newBalanceCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:   "balance [KEY|ADDRESS]",
		Short: "Show what an account has (default: the key in use)",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			who := a.keyName
			if len(args) == 1 {
				who = args[0]
			}
			return runBalance(c.Context(), a, asJSON, who)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func runBalance(ctx context.Context, a *app, asJSON bool, who string) error {
	h, err := home.Open(a.homeDir)
	if err != nil {
		return err
	}
	account, err := accountOf(h, who)
	if err != nil {
		return err
	}
	s, err := a.reach(ctx, 0)
	if err != nil {
		return err
	}
	defer s.Close()
	has, err := s.Ledger.Balance(ctx, account)
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(struct {
			Address work.Address `json:"address"`
			Balance string       `json:"balance"` // ugtg
		}{account, fmt.Sprint(uint64(has))})
	}
	_, err = fmt.Fprintln(a.out, has)
	return err
}

// accountOf reads an address, or the name of one of the home's keys; empty is the
// default key.
func accountOf(h *home.Home, who string) (work.Address, error) {
	if account, err := home.CheckAddress(who); err == nil {
		return account, nil
	} else if len(who) > len(home.Bech32Prefix) && who[:len(home.Bech32Prefix)+1] == home.Bech32Prefix+"1" {
		return "", usageError{err}
	}
	k, err := keyInfo(h, who)
	return k.Address, err
}
