package cli

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/gotong-network/gotong/internal/chainnode"
	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/work"
)

func newValidatorCommand(a *app) *cobra.Command {
	return newRoleCommand(a, home.RoleValidator, "Run this home's validator and ask about it",
		newValidatorPrepareCommand(a),
		newValidatorSubmitCommand(a, "unjail", "Let the validator sign again after it was absent too long", 0,
			func(work.Address, work.Amount) ledger.Msg { return ledger.Unjail{} }),
		newValidatorSubmitCommand(a, "stake AMOUNT", "Add to the validator's stake", 1,
			func(me work.Address, n work.Amount) ledger.Msg { return ledger.Stake{Operator: me, Amount: n} }),
		newValidatorSubmitCommand(a, "unstake AMOUNT", "Take from the validator's stake; it comes back after the unbonding time", 1,
			func(me work.Address, n work.Amount) ledger.Msg { return ledger.Unstake{Operator: me, Amount: n} }),
		newValidatorSubmitCommand(a, "withdraw", "Pay out what the validator's stake earned", 0,
			func(me work.Address, _ work.Amount) ledger.Msg { return ledger.WithdrawStakeReward{Operator: me} }))
}

// newValidatorSubmitCommand sends one message of the operator.
func newValidatorSubmitCommand(a *app, use, short string, args int, message func(me work.Address, amount work.Amount) ledger.Msg) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: cobra.ExactArgs(args), RunE: func(c *cobra.Command, args []string) error {
		var amount work.Amount
		if len(args) > 0 {
			var err error
			if amount, err = work.ParseAmount(args[0]); err != nil || amount == 0 {
				return usagef("%q: write an amount such as 100gtg", args[0])
			}
		}
		s, err := a.reach(c.Context(), withKey)
		if err != nil {
			return err
		}
		defer s.Close()
		in, err := s.Ledger.Submit(c.Context(), s.Key.Address, message(s.Key.Address, amount))
		if err != nil {
			return err
		}
		has, err := s.Ledger.Balance(c.Context(), s.Key.Address)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(a.out, "Done in block %d. %s has %s now.\n", in.Height, s.Key.Address, has)
		return err
	}}
}

// validatorEntry is what a network's founder needs of a validator that keeps its own
// keys: nothing secret.
type validatorEntry struct {
	Operator  work.Address `json:"operator"`
	Consensus string       `json:"consensus"` // hex
	VRF       string       `json:"vrf"`       // hex
	ChainPeer string       `json:"chain_peer"`
	RPC       string       `json:"rpc"`
	Peer      p2p.Peer     `json:"peer"`
}

// validatorEntryFile is where a prepared home keeps its own entry.
const validatorEntryFile = "validator.json"

type prepareOptions struct {
	chain   string
	private bool
	address string
}

func newValidatorPrepareCommand(a *app) *cobra.Command {
	var o prepareOptions
	c := &cobra.Command{
		Use:   "prepare --chain-id NAME --address HOST[:PORT]",
		Short: "Make the home of a founding validator and print its public entry for `network create --validators FILE`",
		Long: "Makes a home with the keys of a validator of a network that does not exist yet, and prints\n" +
			"its public entry. The founder puts all entries into one file, a line each, and founds the\n" +
			"network with `gotong network create --validators FILE`. Then complete this home with\n" +
			"`gotong network join INVITE --genesis FILE`.",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return runValidatorPrepare(c.Context(), a, o) },
	}
	c.Flags().StringVar(&o.chain, "chain-id", "", "name of the chain")
	c.Flags().BoolVar(&o.private, "private", false, "of a private network: the key is kept unencrypted")
	c.Flags().StringVar(&o.address, "address", "", "HOST[:PORT] at which others reach this machine; PORT and the next seven are used (default 26650)")
	return c
}

func runValidatorPrepare(ctx context.Context, a *app, o prepareOptions) error {
	if err := home.CheckChain(o.chain); err != nil {
		return usagef("--chain-id: %w", err)
	}
	if o.address == "" {
		return usagef("--address: say where others reach this machine")
	}
	f := &founding{chain: o.chain, private: o.private}
	v := validatorHome{}
	var err error
	if v.host, v.port, err = splitAddress(o.address); err != nil {
		return err
	}
	if _, err := home.Open(a.homeDir); !errors.Is(err, home.ErrAbsent) {
		return errors.Join(err, fmt.Errorf("%s: %w: use another --home", a.homeDir, home.ErrExists))
	}
	passphrase := ""
	if !o.private {
		if passphrase, err = a.passphrase(ctx, "New passphrase for the account's key: ", true); err != nil {
			return err
		}
	}
	if err := f.makeHome(&v, a.homeDir, []string{home.RoleValidator}, passphrase); err != nil {
		return err
	}
	e := v.entry(f)
	b, err := json.Marshal(e)
	if err != nil {
		return err
	}
	if err := home.WriteFile(v.home.Path(validatorEntryFile), append(b, '\n'), 0o644); err != nil {
		return err
	}
	fmt.Fprintln(a.errw, "This line is public; give it to the network's founder:")
	_, err = fmt.Fprintf(a.out, "%s\n", b)
	return err
}

// entry is the public part of a home that was made.
func (v *validatorHome) entry(f *founding) validatorEntry {
	return validatorEntry{
		Operator: v.account.Address, Consensus: hex.EncodeToString(v.keys.Consensus), VRF: hex.EncodeToString(v.keys.VRF),
		ChainPeer: f.invite.ChainPeers[0], RPC: f.invite.RPCs[0], Peer: f.invite.Bootstrap[0],
	}
}

// readEntries reads a file of entries, one JSON object after the other.
func readEntries(file string) ([]validatorEntry, error) {
	r, err := os.Open(file)
	if err != nil {
		return nil, usagef("--validators: neither a number nor a file: %w", err)
	}
	defer r.Close()
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	var list []validatorEntry
	for d.More() {
		var e validatorEntry
		if err := d.Decode(&e); err != nil {
			return nil, usagef("--validators %s: entry %d: %w", file, len(list)+1, err)
		}
		if err := e.check(); err != nil {
			return nil, usagef("--validators %s: entry %d: %w", file, len(list)+1, err)
		}
		if list = append(list, e); len(list) > maxValidators {
			return nil, usagef("--validators %s: more than %d entries", file, maxValidators)
		}
	}
	if len(list) == 0 {
		return nil, usagef("--validators %s: it has no entries: `gotong validator prepare` prints them", file)
	}
	return list, nil
}

func (e validatorEntry) check() error {
	if _, err := home.CheckAddress(string(e.Operator)); err != nil {
		return err
	}
	for _, k := range []string{e.Consensus, e.VRF} {
		if b, err := hex.DecodeString(k); err != nil || len(b) != 32 {
			return fmt.Errorf("%.80q is not the hex of a public key", k)
		}
	}
	_, at, ok := cutPeer(e.ChainPeer)
	if !ok {
		return fmt.Errorf("chain_peer %.120q: want ID@HOST:PORT", e.ChainPeer)
	}
	if _, port, err := net.SplitHostPort(at); err != nil {
		return fmt.Errorf("chain_peer: %w", err)
	} else if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("chain_peer: port %q", port)
	}
	return home.CheckRPC(e.RPC)
}

// cutPeer splits ID@HOST:PORT.
func cutPeer(text string) (id, at string, ok bool) {
	for i, c := range text {
		if c == '@' {
			return text[:i], text[i+1:], i == 40
		}
	}
	return "", "", false
}

// addEntries founds the network of validators that keep their own keys.
func (f *founding) addEntries(list []validatorEntry, stake work.Amount) error {
	for _, e := range list {
		k := chainnode.Keys{}
		var err, verr error
		k.Consensus, err = hex.DecodeString(e.Consensus)
		k.VRF, verr = hex.DecodeString(e.VRF)
		if err := errors.Join(err, verr, f.give(e.Operator, validatorMoney)); err != nil {
			return err
		}
		f.genesis.Validators = append(f.genesis.Validators, k.Validator(e.Operator, stake))
		f.invite.RPCs = append(f.invite.RPCs, e.RPC)
		f.invite.ChainPeers = append(f.invite.ChainPeers, e.ChainPeer)
		f.invite.Bootstrap = append(f.invite.Bootstrap, e.Peer)
	}
	return nil
}

// ownEntry is the entry of a home that was prepared; nil if it was not.
func ownEntry(h *home.Home) *validatorEntry {
	b, err := os.ReadFile(h.Path(validatorEntryFile))
	var e validatorEntry
	if err != nil || json.Unmarshal(b, &e) != nil {
		return nil
	}
	return &e
}
