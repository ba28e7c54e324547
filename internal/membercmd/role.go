package membercmd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/limits"
	"github.com/gotong-network/gotong/internal/member"
	"github.com/gotong-network/gotong/internal/provider"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

var registryRoles = map[string]lifecycle.Role{
	home.RoleProvider: lifecycle.RoleProvider, home.RoleChecker: lifecycle.RoleChecker, home.RoleIndexer: lifecycle.RoleIndexer,
}

// RoleCommands are the commands of one role of a home, without its status.
func RoleCommands(e *Env, role string) []*cobra.Command {
	list := []*cobra.Command{newRoleStart(e, role)}
	if role == home.RoleProvider {
		list = append(list,
			newSteer(e, "pause", "Stop the provider's work at once, until resume; also over a restart"),
			newSteer(e, "resume", "Take up work again after pause or drain"),
			newDrain(e))
	}
	list = append(list, newEarnings(e))
	if _, ok := registryRoles[role]; ok {
		list = append(list, newWithdraw(e, role))
	}
	return list
}

// NewRoleStatus is the command that tells how a role of the running home is.
func NewRoleStatus(e *Env, role string) *cobra.Command {
	var asJSON bool
	c := noArgs("status", "Say how this home's "+role+" is", func(ctx context.Context) error { return RoleStatus(ctx, e, role, asJSON) })
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// openRole opens a home that plays a role.
func (e *Env) openRole(role string) (*home.Home, error) {
	h, err := e.open()
	if err != nil {
		return nil, err
	}
	if !h.Info().Has(role) {
		return nil, usagef("%s plays no %s: add it with `%s%s network join INVITE --as %s`", h.Dir(), role, e.Program, e.homeFlag(),
			strings.Join(append(slices.Clone(h.Info().Roles), role), ","))
	}
	return h, nil
}

// newRoleStart is `start` for a home that must play a role, with the owner's limits.
func newRoleStart(e *Env, role string) *cobra.Command {
	var (
		flags limits.Flags
		price string
		slots int
		index indexerFlags
	)
	c := &cobra.Command{Use: "start", Short: "Run the roles of this home, the " + role + "'s among them", Args: cobra.NoArgs}
	c.RunE = func(c *cobra.Command, _ []string) error {
		h, err := e.openRole(role)
		if err != nil {
			return err
		}
		if role == home.RoleProvider {
			if err := e.keepSettings(h, c, &flags, price, slots); err != nil {
				return err
			}
		}
		if role == home.RoleIndexer {
			if err := index.keepIn(h, c); err != nil {
				return err
			}
		}
		return runStart(c.Context(), e)
	}
	if role == home.RoleIndexer {
		c.Long = "Runs the roles of this home. Fee and regions are kept in the home and hold at every later start too."
		index.add(c.Flags())
	}
	if role != home.RoleProvider {
		return c
	}
	c.Long = "Runs the roles of this home. The limits are kept in the home and hold at every later start too,\n" +
		"until others are given; `--limits maximum` lifts them."
	for _, f := range flags.List() {
		c.Flags().StringVar(f.Value, f.Name, "", f.Usage)
	}
	c.Flags().StringVar(&price, "price", "", "what the provider asks per work unit")
	c.Flags().IntVar(&slots, "slots", 0, "items run at a time")
	return c
}

// keepSettings writes what the owner says on the command line into the home.
func (e *Env) keepSettings(h *home.Home, c *cobra.Command, flags *limits.Flags, price string, slots int) error {
	s, err := h.ReadSettings()
	if err != nil {
		return err
	}
	if !flags.IsZero() {
		if flags.Preset != "" || s.Limits == nil {
			s.Limits = map[string]string{}
		}
		for _, f := range flags.List() {
			if c.Flags().Changed(f.Name) {
				s.Limits[f.Name] = *f.Value
			}
		}
		if _, err := member.Limits(s); err != nil {
			return UsageError{err}
		}
	}
	if price != "" {
		if a, err := work.ParseAmount(price); err != nil || a == 0 {
			return usagef("--price %q: it must be an amount of more than nothing", price)
		}
		s.Price = price
	}
	if slots < 0 || slots > 1024 {
		return usagef("--slots %d: want 1 to 1024", slots)
	}
	if slots > 0 {
		s.Slots = slots
	}
	return h.WriteSettings(s)
}

// newSteer is a command that the running provider obeys at once; what is paused can
// also be written into a home that does not run.
func newSteer(e *Env, what, short string) *cobra.Command {
	return noArgs(what, short, func(ctx context.Context) error {
		h, err := e.openRole(home.RoleProvider)
		if err != nil {
			return err
		}
		var s member.Status
		err = e.call(ctx, h, http.MethodPost, "/v1/provider/"+what, &s)
		if errors.Is(err, member.ErrNotRunning) {
			set, err := h.ReadSettings()
			if err != nil {
				return err
			}
			set.Paused = what == "pause"
			if err := h.WriteSettings(set); err != nil {
				return err
			}
			fmt.Fprintf(e.Errw, "The provider does not run; it will start %s.\n", map[bool]string{true: "paused", false: "working"}[set.Paused])
			return nil
		}
		if err != nil {
			return err
		}
		return e.tellProvider(s)
	})
}

func (e *Env) tellProvider(s member.Status) error {
	if s.Provider == nil {
		return fmt.Errorf("the provider does not play yet: it waits for %s", s.Waiting)
	}
	_, err := fmt.Fprintf(e.Out, "The provider is %s.\n", providerText(s.Provider))
	return err
}

func providerText(p *provider.Status) string {
	text := string(p.State)
	if p.Why != "" && p.Why != text {
		text += ": " + p.Why
	}
	return text
}

// newDrain is the command that lets the provider finish what it has.
func newDrain(e *Env) *cobra.Command {
	var detach bool
	c := noArgs("drain", "Finish and commit what is in hand, take nothing new; returns when nothing is left", func(ctx context.Context) error {
		h, err := e.openRole(home.RoleProvider)
		if err != nil {
			return err
		}
		var s member.Status
		if err := e.call(ctx, h, http.MethodPost, "/v1/provider/drain", &s); err != nil {
			return err
		}
		for !detach && s.Provider != nil && s.Provider.State != provider.Drained {
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(time.Second):
			}
			if err := e.call(ctx, h, http.MethodGet, "/v1/status", &s); err != nil {
				return err
			}
		}
		return e.tellProvider(s)
	})
	c.Flags().BoolVar(&detach, "detach", false, "do not wait for the end")
	return c
}

// call asks the running process.
func (e *Env) call(ctx context.Context, h *home.Home, method, path string, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return member.Call(ctx, h, method, path, out)
}

// newEarnings is the command that tells what the account earned.
func newEarnings(e *Env) *cobra.Command {
	var asJSON bool
	c := noArgs("earnings", "Show what this home's account earned and lost in its roles", func(ctx context.Context) error {
		h, err := e.open()
		if err != nil {
			return err
		}
		n := &member.Earnings{}
		if err := e.call(ctx, h, http.MethodGet, "/v1/earnings", n); errors.Is(err, member.ErrNotRunning) {
			if n, err = member.ReadEarnings(h); err != nil {
				return err
			}
		} else if err != nil {
			return err
		}
		if asJSON {
			return e.printJSON(n)
		}
		return e.showEarnings(n)
	})
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

func (e *Env) showEarnings(n *member.Earnings) error {
	w := tabwriter.NewWriter(e.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "earned\t%s\tin blocks %d to %d\n", n.Sum(), n.Since, n.Height)
	for _, why := range slices.Sorted(maps.Keys(n.Earned)) {
		fmt.Fprintf(w, "  %s\t%s\n", why, n.Earned[why])
	}
	for _, why := range slices.Sorted(maps.Keys(n.Lost)) {
		fmt.Fprintf(w, "lost: %s\t%s\n", why, n.Lost[why])
	}
	days := slices.Sorted(maps.Keys(n.Days))
	slices.Reverse(days)
	for _, d := range days[:min(len(days), 7)] {
		fmt.Fprintf(w, "%s\t%s\n", d, n.Days[d])
	}
	if n.Missed > 0 {
		fmt.Fprintf(w, "not counted\t%d blocks\tno node kept them\n", n.Missed)
	}
	return w.Flush()
}

// newWithdraw is the command that starts to return bond.
func newWithdraw(e *Env, role string) *cobra.Command {
	c := &cobra.Command{
		Use: "withdraw [AMOUNT]", Short: "Start to return the " + role + "'s bond, all that is free if no amount is given",
		Long: "Pay goes to the account by itself; `send` moves it on. What is returned here is the bond: it stays\n" +
			"locked for the chain's unbonding time, and then comes to the account by itself.",
		Args: cobra.MaximumNArgs(1),
	}
	c.RunE = func(c *cobra.Command, args []string) error {
		text := ""
		if len(args) == 1 {
			text = args[0]
		}
		return runWithdraw(c.Context(), e, role, text)
	}
	return c
}

func runWithdraw(ctx context.Context, e *Env, role, text string) error {
	h, err := e.openRole(role)
	if err != nil {
		return err
	}
	var amount work.Amount
	if text != "" {
		if amount, err = work.ParseAmount(text); err != nil || amount == 0 {
			return usagef("%q: write how much to withdraw, such as 1.5gtg", text)
		}
	}
	key, err := e.account(ctx, h)
	if err != nil {
		return err
	}
	l, err := member.Dial(ctx, h, e.quiet())
	if err != nil {
		return err
	}
	defer l.Close()
	me := l.AddKey([32]byte(key.Secret()))
	p, err := l.Party(ctx, registryRoles[role], me)
	if errors.Is(err, ledger.ErrNotFound) {
		return usagef("%s is not registered as %s: there is no bond", me, role)
	}
	if err != nil {
		return err
	}
	switch free := p.Free(); {
	case amount == 0 && free == 0:
		return fmt.Errorf("%w: of the bond of %s, %s are locked behind open work and %s are on their way back already", ledger.ErrFunds, p.Bond, p.Locked, p.Unbonding)
	case amount == 0:
		amount = free
	case amount > free:
		return fmt.Errorf("%w: of the bond of %s only %s are free; %s are locked behind open work and %s are on their way back", ledger.ErrFunds, p.Bond, free, p.Locked, p.Unbonding)
	}
	if _, err := l.Submit(ctx, me, ledger.Unbond{Role: registryRoles[role], Amount: amount}); err != nil {
		return err
	}
	if p, err = l.Party(ctx, registryRoles[role], me); err != nil {
		return err
	}
	_, err = fmt.Fprintf(e.Out, "%s come back to %s at height %d.\n", amount, me, p.UnbondHeight)
	return err
}

// RoleStatus tells how a role of the running home is.
func RoleStatus(ctx context.Context, e *Env, role string, asJSON bool) error {
	h, err := e.openRole(role)
	if err != nil {
		return err
	}
	var s member.Status
	if err := e.call(ctx, h, http.MethodGet, "/v1/status", &s); err != nil {
		return err
	}
	if asJSON {
		return e.printJSON(s)
	}
	return e.showStatus(s)
}
