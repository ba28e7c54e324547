package cli

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	genesis "github.com/gotong-network/gotong/app"
	"github.com/gotong-network/gotong/internal/chainnode"
	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/member"
	"github.com/gotong-network/gotong/internal/p2p"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
)

// What a network begins with if nobody says otherwise.
const (
	maxValidators  = 100
	validatorStake = 10_000 * work.UgtgPerGtg
	validatorMoney = 10_000 * work.UgtgPerGtg // beside the stake
	faucetMoney    = 100_000_000 * work.UgtgPerGtg
	privateBlocks  = 500 * time.Millisecond
	publicBlocks   = 5 * time.Second
	privateVoting  = 10 * time.Minute // of proposals, in a private network
)

// Ports of validator i: basePort + portStep × i, and from there the peers' port, the
// chain's peers' and the RPC server's.
const (
	basePort      = 26650
	portStep      = 10
	chainP2POfset = 6
	rpcOffset     = 7
)

type createOptions struct {
	chain      string
	validators string
	private    bool
	paramsFile string
	blockTime  time.Duration
	fund       []string
	addresses  []string
	roles      string
	stake      string
	json       bool
}

func newNetworkCreateCommand(a *app) *cobra.Command {
	var o createOptions
	c := &cobra.Command{
		Use:   "create --chain-id NAME --validators N|FILE",
		Short: "Found a network: genesis, validators' homes and an invite",
		Long: "Makes the homes DIR/node0 to DIR/nodeN-1 of N validators, their genesis, and the invite\n" +
			"DIR/invite.json. DIR is --home. Copy each home to its machine and run `gotong start` there.\n" +
			"Instead of a number, --validators takes a file with the public entries of validators that\n" +
			"made their homes themselves (`gotong validator prepare`).\n" +
			"A --private network keeps keys unencrypted, lets its members use tier none, and has a\n" +
			"faucet of play money, whose key is in the invite: give the invite only to your own machines.",
		Example: "  gotong network create --chain-id lab --private --validators 1 --home lab",
		Args:    cobra.NoArgs,
		RunE:    func(c *cobra.Command, _ []string) error { return runNetworkCreate(c.Context(), a, o) },
	}
	f := c.Flags()
	f.StringVar(&o.chain, "chain-id", "", "name of the chain")
	f.StringVar(&o.validators, "validators", "1", "how many validators' homes to make, or a file of validators' entries")
	f.BoolVar(&o.private, "private", false, "one owner's network: play money, plain keys, tier none allowed")
	f.StringVar(&o.paramsFile, "params", "", "JSON file of parameters that differ from the defaults")
	f.DurationVar(&o.blockTime, "block-time", 0, "wait between blocks (default 500ms private, 5s public)")
	f.StringArrayVar(&o.fund, "fund", nil, "ADDRESS=AMOUNT that an account begins with; may be repeated")
	f.StringSliceVar(&o.addresses, "address", nil, "HOST[:PORT] of each validator, in order (default 127.0.0.1 with ports from 26650 in steps of 10)")
	f.StringVar(&o.roles, "roles", home.RoleIndexer+","+home.RoleChecker, "roles that the first validator plays too; none: \"\"")
	f.StringVar(&o.stake, "stake", "10000gtg", "stake of each validator")
	f.BoolVar(&o.json, "json", false, "print JSON")
	return c
}

// founding is a network that is being made.
type founding struct {
	dir       string
	chain     string
	private   bool
	blockTime time.Duration
	genesis   genesis.GenesisConfig
	invite    home.Invite
	faucet    *home.Key // of a private network
}

func runNetworkCreate(ctx context.Context, a *app, o createOptions) error {
	f, err := o.found(a.homeDir)
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(o.validators)
	if err != nil {
		return f.foundByEntries(a, o)
	}
	passphrase := ""
	if !o.private {
		if passphrase, err = a.passphrase(ctx, "New passphrase for the validators' account keys: ", true); err != nil {
			return err
		}
	}
	homes, err := f.makeHomes(count, o, passphrase)
	if err != nil {
		return err
	}
	if err := f.finish(homes); err != nil {
		return err
	}
	return f.say(a, homes, o.json)
}

// foundByEntries founds a network of validators that made their homes themselves.
func (f *founding) foundByEntries(a *app, o createOptions) error {
	list, err := readEntries(o.validators)
	if err != nil {
		return err
	}
	stake, err := work.ParseAmount(o.stake)
	if err != nil {
		return usagef("--stake: %w", err)
	}
	if err := errors.Join(f.addFaucet(), f.addEntries(list, stake), os.MkdirAll(f.dir, 0o700)); err != nil {
		return err
	}
	if err := f.finish(nil); err != nil {
		return err
	}
	fmt.Fprintf(a.errw, "Each validator completes its home: gotong network join INVITE --genesis %s\n", filepath.Join(f.dir, "genesis.json"))
	return f.say(a, nil, o.json)
}

// addFaucet makes the faucet of a private network.
func (f *founding) addFaucet() (err error) {
	if !f.private {
		return nil
	}
	if f.faucet, err = home.NewKey(member.FaucetKey); err != nil {
		return err
	}
	f.invite.Faucet = hex.EncodeToString(f.faucet.Secret())
	return f.give(f.faucet.Address, faucetMoney)
}

// found checks the options and prepares the genesis.
func (o createOptions) found(dir string) (*founding, error) {
	if err := home.CheckChain(o.chain); err != nil {
		return nil, usagef("--chain-id: %w", err)
	}
	if es, err := os.ReadDir(dir); err == nil && len(es) > 0 {
		return nil, usagef("--home %s is not empty: a network is made in a folder of its own", dir)
	}
	f := &founding{dir: dir, chain: o.chain, private: o.private, blockTime: publicBlocks}
	f.genesis = genesis.GenesisConfig{Chain: o.chain, Time: time.Now(), Params: lifecycle.PublicParams()}
	if o.private {
		f.blockTime = privateBlocks
		f.genesis.Params, f.genesis.Governance = lifecycle.LocalParams(), genesis.Governance{Voting: privateVoting, Deposit: 10 * work.UgtgPerGtg}
	}
	if o.blockTime != 0 {
		f.blockTime = o.blockTime
	}
	if f.blockTime < time.Millisecond || f.blockTime > 10*time.Minute {
		return nil, usagef("--block-time %s: want 1ms to 10m", f.blockTime)
	}
	if o.paramsFile != "" {
		if err := readParams(o.paramsFile, &f.genesis.Params); err != nil {
			return nil, err
		}
	}
	for _, text := range o.fund {
		if err := f.fund(text); err != nil {
			return nil, err
		}
	}
	f.invite = home.Invite{Format: 1, Chain: o.chain, Private: o.private, BlockMillis: f.blockTime.Milliseconds()}
	return f, nil
}

// readParams lays a file's parameters over the defaults.
func readParams(file string, p *lifecycle.Params) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return usagef("--params: %w", err)
	}
	if err := p.Set(b); err != nil {
		return usagef("--params %s: %w", file, err)
	}
	if err := p.Validate(); err != nil {
		return usagef("--params %s: %w", file, err)
	}
	return nil
}

// fund reads ADDRESS=AMOUNT.
func (f *founding) fund(text string) error {
	who, amount, ok := strings.Cut(text, "=")
	if !ok {
		return usagef("--fund %s: write ADDRESS=AMOUNT", text)
	}
	address, err := home.CheckAddress(who)
	if err != nil {
		return usagef("--fund: %w", err)
	}
	money, err := work.ParseAmount(amount)
	if err != nil {
		return usagef("--fund %s: %w", text, err)
	}
	return f.give(address, money)
}

func (f *founding) give(to work.Address, money work.Amount) error {
	for i, a := range f.genesis.Accounts {
		if a.Address == to {
			sum, err := a.Balance.Add(money)
			f.genesis.Accounts[i].Balance = sum
			return err
		}
	}
	f.genesis.Accounts = append(f.genesis.Accounts, genesis.Account{Address: to, Balance: money})
	return nil
}

// validatorHome is one validator's home while a network is made.
type validatorHome struct {
	home    *home.Home
	account *home.Key
	keys    chainnode.Keys
	host    string
	port    int
}

// makeHomes makes the validators' homes with their keys.
func (f *founding) makeHomes(count int, o createOptions, passphrase string) ([]validatorHome, error) {
	if count < 1 || count > maxValidators {
		return nil, usagef("--validators %d: want 1 to %d", count, maxValidators)
	}
	if len(o.addresses) > 0 && len(o.addresses) != count {
		return nil, usagef("--address names %d hosts for %d validators", len(o.addresses), count)
	}
	stake, err := work.ParseAmount(o.stake)
	if err != nil {
		return nil, usagef("--stake: %w", err)
	}
	extra, err := home.ParseRoles(o.roles)
	if err != nil {
		return nil, usagef("--roles: %w", err)
	}
	if err := f.addFaucet(); err != nil {
		return nil, err
	}
	var homes []validatorHome
	for i := range count {
		v := validatorHome{host: "127.0.0.1", port: basePort + portStep*i}
		if len(o.addresses) > 0 {
			if v.host, v.port, err = splitAddress(o.addresses[i]); err != nil {
				return nil, err
			}
		}
		roles := []string{home.RoleValidator}
		if i == 0 {
			roles = append(roles, extra...)
		}
		if err := f.makeHome(&v, filepath.Join(f.dir, fmt.Sprintf("node%d", i)), roles, passphrase); err != nil {
			return nil, err
		}
		if err := f.give(v.account.Address, validatorMoney); err != nil {
			return nil, err
		}
		f.genesis.Validators = append(f.genesis.Validators, v.keys.Validator(v.account.Address, stake))
		homes = append(homes, v)
	}
	return homes, nil
}

// splitAddress reads HOST[:PORT] of a validator.
func splitAddress(text string) (string, int, error) {
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return strings.Trim(text, "[]"), basePort, nil
	}
	n, err := strconv.Atoi(port)
	if err != nil || n < 1 || n > 65535-rpcOffset {
		return "", 0, usagef("--address %s: the port must be 1 to %d: it and the next seven are used", text, 65535-rpcOffset)
	}
	return host, n, nil
}

// makeHome makes one validator's home and adds it to the invite.
func (f *founding) makeHome(v *validatorHome, dir string, roles []string, passphrase string) (err error) {
	if v.home, err = home.Create(dir, home.Info{Kind: home.Member, Chain: f.chain, Key: "default", Roles: roles, Private: f.private}); err != nil {
		return err
	}
	if v.account, err = home.NewKey("default"); err != nil {
		return err
	}
	if err := v.home.SaveKey(v.account, passphrase); err != nil {
		return err
	}
	if f.faucet != nil {
		if err := v.home.SaveKey(f.faucet, ""); err != nil {
			return err
		}
	}
	peer, err := v.home.SeedKey("peer.key")
	if err != nil {
		return err
	}
	if v.keys, err = chainnode.MakeKeys(member.ChainDir(v.home)); err != nil {
		return err
	}
	f.invite.RPCs = append(f.invite.RPCs, "http://"+v.at(rpcOffset))
	f.invite.ChainPeers = append(f.invite.ChainPeers, v.keys.Peer+"@"+v.at(chainP2POfset))
	f.invite.Bootstrap = append(f.invite.Bootstrap, p2p.Peer{Key: peer.Public(), Addrs: []string{multiaddr(v.host, v.port)}})
	return v.home.WriteSettings(v.settings())
}

// at is the host with one of the validator's ports.
func (v *validatorHome) at(offset int) string {
	return net.JoinHostPort(v.host, strconv.Itoa(v.port+offset))
}

// settings make the validator listen: on loopback if others reach it there, else on
// all of the machine's addresses.
func (v *validatorHome) settings() home.Settings {
	at := "0.0.0.0"
	if ip := net.ParseIP(v.host); ip != nil {
		at = v.host
	}
	port := func(offset int) string { return net.JoinHostPort(at, strconv.Itoa(v.port+offset)) }
	return home.Settings{Listen: []string{multiaddr(at, v.port)}, Reach: string(p2p.ReachPublic), Relay: true, RPC: port(rpcOffset), ChainP2P: port(chainP2POfset)}
}

// multiaddr is a host's TCP port as libp2p writes it.
func multiaddr(host string, port int) string {
	kind := "dns"
	if ip := net.ParseIP(host); ip != nil {
		kind = "ip6"
		if ip.To4() != nil {
			kind = "ip4"
		}
	}
	return fmt.Sprintf("/%s/%s/tcp/%d", kind, host, port)
}

// finish writes the genesis and the invite everywhere.
func (f *founding) finish(homes []validatorHome) error {
	doc, err := chainnode.EncodeGenesis(f.genesis)
	if err != nil {
		return usagef("%w", err)
	}
	f.invite.Genesis = chainnode.GenesisHash(doc)
	text, err := f.invite.Encode()
	if err != nil {
		return err
	}
	for _, v := range homes {
		network := f.invite.Network()
		network.RPC = "http://" + v.at(rpcOffset) // its own
		err := errors.Join(chainnode.PutGenesis(member.ChainDir(v.home), doc), v.home.WriteNetwork(network),
			home.WriteFile(v.home.Path("invite.json"), text, 0o600))
		if err != nil {
			return err
		}
	}
	return errors.Join(home.WriteFile(filepath.Join(f.dir, "genesis.json"), doc, 0o644), home.WriteFile(filepath.Join(f.dir, "invite.json"), text, 0o600))
}

func (f *founding) say(a *app, homes []validatorHome, asJSON bool) error {
	if asJSON {
		dirs := make([]string, len(homes))
		for i, v := range homes {
			dirs[i] = v.home.Dir()
		}
		return a.printJSON(struct {
			Chain  string   `json:"chain"`
			Homes  []string `json:"homes"`
			Invite string   `json:"invite"`
		}{f.chain, dirs, filepath.Join(f.dir, "invite.json")})
	}
	fmt.Fprintf(a.errw, "Network %s is founded.\n", f.chain)
	for _, v := range homes {
		fmt.Fprintln(a.out, v.home.Dir())
	}
	if len(homes) > 0 {
		fmt.Fprintf(a.errw, "Start each home on its machine: gotong start --home DIR/nodeN\n")
	}
	fmt.Fprintf(a.errw, "Others join with gotong network join %s --as provider\n", filepath.Join(f.dir, "invite.json"))
	if f.private {
		fmt.Fprintln(a.errw, "The invite holds the faucet's key: whoever has it can take this network's play money.")
	}
	return nil
}
