package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/membercmd"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

func newProviderCommand(a *app) *cobra.Command {
	e := a.memberEnv()
	return newGroup("provider", "Run and steer this home's provider, or ask about others",
		append(membercmd.RoleCommands(e, home.RoleProvider), newProviderStatusCommand(a), membercmd.NewAttestations(e))...)
}

// newRoleCommand is the commands of a role that only its own home is asked about.
func newRoleCommand(a *app, role, short string, more ...*cobra.Command) *cobra.Command {
	e := a.memberEnv()
	return newGroup(role, short, append(append(membercmd.RoleCommands(e, role), membercmd.NewRoleStatus(e, role)), more...)...)
}

func newProviderStatusCommand(a *app) *cobra.Command {
	var asJSON, network bool
	c := &cobra.Command{
		Use:   "status [KEY|ADDRESS]",
		Short: "Show how this home's provider is, or the network's: bond, offer, price, speed, load, commons",
		Long: "In a home that plays the provider: what it does, its limits, and why it is paused if it is.\n" +
			"Elsewhere, or with an account or --network: what the network knows of providers.",
		Args: cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if h, err := home.Open(a.homeDir); err == nil && h.Info().Has(home.RoleProvider) && !network && len(args) == 0 {
				return membercmd.RoleStatus(c.Context(), a.memberEnv(), home.RoleProvider, asJSON)
			}
			return runProviderStatus(c.Context(), a, asJSON, args)
		},
	}
	c.Flags().BoolVar(&network, "network", false, "ask the network, also in a provider's home")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// providerStatus is one provider on the chain, and its offer if there is one.
type providerStatus struct {
	Address   work.Address `json:"address"`
	Bond      string       `json:"bond"`      // ugtg
	Locked    string       `json:"locked"`    // ugtg, behind batches that are not settled
	Unbonding string       `json:"unbonding"` // ugtg
	Offer     *work.Offer  `json:"offer"`     // null: no valid offer is known
	Commons   uint64       `json:"commons"`   // items of the commons that it did, settled

	party *lifecycle.Party
}

func runProviderStatus(ctx context.Context, a *app, asJSON bool, args []string) error {
	s, err := a.reach(ctx, withPeers)
	if err != nil {
		return err
	}
	defer s.Close()
	list, err := s.providers(ctx)
	if err != nil {
		return err
	}
	commons, err := viewCommons(ctx, s.Ledger)
	if err != nil {
		return err
	}
	for i := range list {
		list[i].Commons = commons.itemsOf(list[i].Address)
	}
	if len(args) == 1 {
		account, err := accountOf(s.Home, args[0])
		if err != nil {
			return err
		}
		list = slices.DeleteFunc(list, func(p providerStatus) bool { return p.Address != account })
		if len(list) == 0 {
			return usagef("%s is no provider: `gotong provider status` shows all", account)
		}
	}
	if asJSON {
		return a.printJSON(list)
	}
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "PROVIDER\tBOND\tLOCKED\tPRICE\tSLOTS\tFUEL/S\tMEMORY\tLOAD\tCOMMONS")
	for _, p := range list {
		offer := "no offer\t-\t-\t-\t-"
		if o := p.Offer; o != nil {
			offer = fmt.Sprintf("%dugtg\t%d\t%s\t%s\t%d %%", o.Price, o.Slots, formatFuel(o.FuelPerSec), formatBytes(o.MemoryBytes), o.Load/10)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d items\n", p.Address, p.party.Bond, p.party.Locked, offer, p.Commons)
	}
	return w.Flush()
}

// providers are the chain's providers with the indexer's offers, by address.
func (s *session) providers(ctx context.Context) ([]providerStatus, error) {
	parties, err := s.Ledger.Parties(ctx, lifecycle.RoleProvider)
	if err != nil {
		return nil, err
	}
	offers, err := s.offers(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]providerStatus, len(parties))
	for i, p := range parties {
		list[i] = providerStatus{Address: p.Account, Bond: fmt.Sprint(uint64(p.Bond)), Locked: fmt.Sprint(uint64(p.Locked)), Unbonding: fmt.Sprint(uint64(p.Unbonding)), party: p}
		for _, o := range offers {
			if o.Provider == p.Account && (list[i].Offer == nil || list[i].Offer.Sequence < o.Sequence) {
				list[i].Offer = o
			}
		}
	}
	slices.SortFunc(list, func(x, y providerStatus) int { return strings.Compare(string(x.Address), string(y.Address)) })
	return list, nil
}
