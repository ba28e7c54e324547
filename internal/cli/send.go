package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/work"
)

func newSendCommand(a *app) *cobra.Command {
	var asJSON bool
	c := &cobra.Command{
		Use:     "send TO AMOUNT",
		Short:   "Send money to an address, or to another key of the home",
		Example: "  gotong send gotong1… 1.5gtg",
		Args:    cobra.ExactArgs(2),
		RunE:    func(c *cobra.Command, args []string) error { return runSend(c.Context(), a, asJSON, args[0], args[1]) },
	}
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func runSend(ctx context.Context, a *app, asJSON bool, to, text string) error {
	amount, err := work.ParseAmount(text)
	if err != nil {
		return usageError{err}
	}
	if amount == 0 {
		return usagef("an amount of nothing: write how much to send, such as 1.5gtg")
	}
	h, err := home.Open(a.homeDir)
	if err != nil {
		return err
	}
	receiver, err := accountOf(h, to)
	if err != nil {
		return err
	}
	s, err := a.reach(ctx, withKey)
	if err != nil {
		return err
	}
	defer s.Close()
	if has, err := s.Ledger.Balance(ctx, s.Key.Address); err != nil {
		return err
	} else if has < amount {
		return fmt.Errorf("%w: %s has %s and %s are to be sent: nothing was sent", ledger.ErrFunds, s.Key.Name, has, amount)
	}
	in, err := s.Ledger.Submit(ctx, s.Key.Address, ledger.Send{To: receiver, Amount: amount})
	if err != nil {
		return err
	}
	if asJSON {
		return a.printJSON(struct {
			From   work.Address `json:"from"`
			To     work.Address `json:"to"`
			Amount string       `json:"amount"` // ugtg
			Height int64        `json:"height"`
			Tx     string       `json:"tx"`
		}{s.Key.Address, receiver, fmt.Sprint(uint64(amount)), in.Height, in.TxHash})
	}
	_, err = fmt.Fprintf(a.out, "Sent %s to %s in block %d (transaction %s).\n", amount, receiver, in.Height, in.TxHash)
	return err
}
