package membercmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/iso3166"
	"github.com/gotong-network/gotong/internal/member"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/work"
)

type joinOptions struct {
	as       string
	price    string
	slots    int
	index    indexerFlags
	bond     string
	region   string
	listen   []string
	reach    string
	relay    bool
	light    bool
	rpc      string
	chainP2P string
	genesis  string
	sync     bool
	stake    string
	metrics  string
	json     bool
}

// NewJoin is the command that makes a home a member of a network.
func NewJoin(e *Env) *cobra.Command {
	var o joinOptions
	c := &cobra.Command{
		Use:   "join INVITE",
		Short: "Make this home a member of a network: a client's, or one that plays roles",
		Long: "Makes a home for a network, with a new account key, from an invite (`gotong network invite`\n" +
			"prints one; - reads it from stdin). Without --as it is a client's home, which needs no\n" +
			"`gotong start`. Keys are encrypted with a passphrase, except in a private network.",
		Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return runJoin(c.Context(), e, o, args[0]) },
	}
	f := c.Flags()
	f.StringVar(&o.as, "as", "", "roles to play, with commas: "+strings.Join(e.Roles, ", "))
	f.StringVar(&o.price, "price", "", "what a provider asks per work unit (default 1000ugtg)")
	f.IntVar(&o.slots, "slots", 0, "items run at a time (default: one per core)")
	o.index.add(f)
	f.StringVar(&o.bond, "bond", "", "bond of each role (default 100gtg, or the chain's least if that is more)")
	f.StringVar(&o.region, "region", "", "where a provider says that it is, an ISO 3166 code as DE or DE-BY (default: unstated)")
	f.StringSliceVar(&o.listen, "listen", nil, "multiaddrs to hear peers at (default: any port)")
	f.StringVar(&o.reach, "reach", "", "what you know of how others reach this machine: public or relayed (default: it finds out)")
	f.BoolVar(&o.relay, "relay", false, "carry the connections of those who cannot be reached; needs a public address")
	f.BoolVar(&o.light, "light", false, "keep the network part small: one of many on a machine")
	f.StringVar(&o.genesis, "genesis", "", "validator: file of the chain's genesis (default: from the network)")
	f.BoolVar(&o.sync, "state-sync", false, "validator: begin from a snapshot of the others, who make one every 1,000 blocks, not from the first block")
	f.StringVar(&o.stake, "stake", "", "validator: its stake (default 1000gtg)")
	f.StringVar(&o.rpc, "rpc", "", "validator: host:port of its RPC server (default 127.0.0.1:26657)")
	f.StringVar(&o.chainP2P, "chain-listen", "", "validator: host:port for the chain's peers (default 0.0.0.0:26656)")
	f.StringVar(&o.metrics, "metrics", "", "loopback host:port at which figures for Prometheus are served (default: nowhere)")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return c
}

func runJoin(ctx context.Context, e *Env, o joinOptions, file string) error {
	roles, settings, err := o.parse(e)
	if err != nil {
		return err
	}
	invite, err := readInvite(e.In, file)
	if err != nil {
		return err
	}
	fresh, err := e.refuseTaken(invite.Chain)
	if err != nil {
		return err
	}
	j := member.Join{Dir: e.Home(), Invite: invite, Roles: roles, KeyName: "default", Settings: settings}
	if fresh && !invite.Private {
		if j.Passphrase, err = e.Passphrase(ctx, "New passphrase for the account's key: ", true); err != nil {
			return err
		}
	}
	h, k, err := j.Make()
	if err != nil {
		return err
	}
	if h.Info().Has(home.RoleValidator) {
		if err := e.PrepareChain(ctx, h, invite, o.genesis); err != nil {
			return err
		}
	}
	if o.sync {
		if err := member.TrustNow(ctx, h, e.log()); err != nil {
			return err
		}
	}
	return e.joined(h, k, e.fund(ctx, h, k.Address), o.json)
}

func (o joinOptions) parse(e *Env) ([]string, home.Settings, error) {
	s := home.Settings{Listen: o.listen, RPC: o.rpc, ChainP2P: o.chainP2P, Price: o.price, Slots: o.slots, Bond: o.bond, Region: o.region, Metrics: o.metrics,
		Reach: o.reach, Relay: o.relay, Light: o.light, Stake: o.stake, StateSync: o.sync}
	if o.region != "" {
		if err := iso3166.Check(o.region); err != nil {
			return nil, s, usagef("--region: %w", err)
		}
	}
	if err := o.index.keep(&s); err != nil {
		return nil, s, err
	}
	if o.as == "" && len(e.Roles) == 1 {
		o.as = e.Roles[0] // a program of one role
	}
	if o.metrics != "" {
		if err := member.CheckMetrics(o.metrics); err != nil {
			return nil, s, usagef("--metrics: %w", err)
		}
	}
	roles, err := home.ParseRoles(o.as)
	if err != nil {
		return nil, s, usagef("--as: %w", err)
	}
	for _, r := range roles {
		if !slices.Contains(e.Roles, r) {
			return nil, s, usagef("--as %s: %s plays only %s: use gotong", r, e.Program, strings.Join(e.Roles, ", "))
		}
	}
	for flag, text := range map[string]string{"price": o.price, "bond": o.bond, "stake": o.stake} {
		if text == "" {
			continue
		}
		if a, err := work.ParseAmount(text); err != nil || a == 0 {
			return nil, s, usagef("--%s %q: %w", flag, text, errors.Join(err, errors.New("it must be an amount of more than nothing")))
		}
	}
	if !slices.Contains([]string{"", string(p2p.ReachPublic), string(p2p.ReachRelayed)}, o.reach) {
		return nil, s, usagef("--reach %s: write public or relayed, or leave it out", o.reach)
	}
	if o.slots < 0 || o.slots > 1024 {
		return nil, s, usagef("--slots %d: want 1 to 1024", o.slots)
	}
	return roles, s, nil
}

// refuseTaken says what a home is already, before anybody types a passphrase; fresh
// if it is nothing yet.
func (e *Env) refuseTaken(chain string) (fresh bool, err error) {
	h, err := home.Open(e.Home())
	switch {
	case errors.Is(err, home.ErrAbsent):
		return true, nil
	case err != nil:
		return false, err
	case h.Info().Kind == home.Local:
		return false, usagef("%s is the %w: `gotong up` runs it, and its plain keys must not hold real money; join with another --home", h.Dir(), member.ErrLocal)
	case h.Info().Chain != chain:
		return false, fmt.Errorf("%s is a member of %s already: %w: use another --home", h.Dir(), h.Info().Chain, home.ErrExists)
	case h.Running():
		return false, fmt.Errorf("%s: %w: stop it first", h.Dir(), home.ErrInUse)
	}
	return false, nil
}

// readInvite reads an invite's file; - is stdin.
func readInvite(in io.Reader, file string) (*home.Invite, error) {
	r := in
	if file != "-" {
		f, err := os.Open(file)
		if err != nil {
			return nil, usagef("invite: %w", err)
		}
		defer f.Close()
		r = f
	}
	b, err := io.ReadAll(io.LimitReader(r, home.MaxInviteBytes+1))
	if err != nil {
		return nil, usagef("invite %s: %w", file, err)
	}
	v, err := home.DecodeInvite(b)
	if err != nil {
		return nil, usagef("%s: %w", file, err)
	}
	return v, nil
}

// fundTimeout bounds the attempt to get money when a home is made: who plays a role gets
// it at a later start, a client when it joins once more.
const fundTimeout = 15 * time.Second

// fund asks a private network's faucet for money for an account that has none, if it can
// be reached.
func (e *Env) fund(ctx context.Context, h *home.Home, to work.Address) (funded bool) {
	if !h.Info().Private {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, fundTimeout)
	defer cancel()
	l, err := member.Dial(ctx, h, e.quiet())
	if err == nil {
		var has work.Amount
		if has, err = l.Balance(ctx, to); err == nil && has == 0 {
			err = member.Fund(ctx, h, l, to, 0)
			funded = err == nil
		}
		err = errors.Join(err, l.Close())
	}
	if err != nil && !errors.Is(err, home.ErrNoKey) {
		fmt.Fprintf(e.Errw, "The faucet was not reached now: %v\n", err)
		if len(h.Info().Roles) == 0 {
			fmt.Fprintln(e.Errw, "Join once more when the network runs: then it gives this account its money.")
		}
	}
	return funded
}

// joined says what there is now, and what comes next.
func (e *Env) joined(h *home.Home, k home.KeyInfo, funded, asJSON bool) error {
	i := h.Info()
	if asJSON {
		return e.printJSON(struct {
			Home    string       `json:"home"`
			Chain   string       `json:"chain"`
			Roles   []string     `json:"roles"`
			Address work.Address `json:"address"`
			Funded  bool         `json:"funded"`
		}{h.Dir(), i.Chain, i.Roles, k.Address, funded})
	}
	fmt.Fprintf(e.Out, "%s\n", k.Address)
	as := "a client"
	if len(i.Roles) > 0 {
		as = strings.Join(i.Roles, ", ")
	}
	fmt.Fprintf(e.Errw, "%s is a member of %s now, as %s. The account above holds its money", h.Dir(), i.Chain, as)
	if funded {
		fmt.Fprintf(e.Errw, ": the faucet gave it %s", work.Amount(member.FaucetGrant))
	}
	fmt.Fprintln(e.Errw, ".")
	if !i.Private {
		fmt.Fprintf(e.Errw, "Keep a copy of it: %s%s keys export --all --out FILE\n", e.Program, e.homeFlag())
	}
	if len(i.Roles) > 0 {
		fmt.Fprintf(e.Errw, "Next: %s%s start\n", e.Program, e.homeFlag())
	} else {
		fmt.Fprintf(e.Errw, "Next: %s%s network status\n", e.Program, e.homeFlag())
	}
	return nil
}
