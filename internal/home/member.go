package home

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/gotong-network/gotong/internal/p2p"
)

// The roles of a member.
const (
	RoleProvider  = "provider"
	RoleChecker   = "checker"
	RoleIndexer   = "indexer"
	RoleValidator = "validator"
)

// Roles are all roles, in the order in which they are shown.
var Roles = []string{RoleValidator, RoleIndexer, RoleChecker, RoleProvider}

// ParseRoles reads a list of roles with commas between them; each counts once, and
// the order is that of Roles.
func ParseRoles(list string) ([]string, error) {
	var out []string
	for word := range strings.SplitSeq(list, ",") {
		word = strings.TrimSpace(word)
		if word == "" {
			continue
		}
		if !slices.Contains(Roles, word) {
			return nil, fmt.Errorf("role %q: there are %s", word, strings.Join(Roles, ", "))
		}
		out = append(out, word)
	}
	slices.SortFunc(out, func(a, b string) int { return slices.Index(Roles, a) - slices.Index(Roles, b) })
	return slices.Compact(out), nil
}

// Has reports whether the home plays a role.
func (i Info) Has(role string) bool { return slices.Contains(i.Roles, role) }

// Settings is node.json: how a member's node runs on this machine. Zero values are
// the defaults.
type Settings struct {
	// Listen are the multiaddrs that peers are heard at; none: any port.
	Listen []string `json:"listen,omitempty"`
	// Reach is the owner's word about how others reach it: public or relayed;
	// empty: it finds out. Relay lets it carry connections of those that cannot be
	// reached. Light keeps its network small: it is one of many on a machine.
	Reach string `json:"reach,omitempty"`
	Relay bool   `json:"relay,omitempty"`
	Light bool   `json:"light,omitempty"`
	// RPC and ChainP2P are where a member with a node of the chain listens.
	RPC      string `json:"rpc,omitempty"`
	ChainP2P string `json:"chain_p2p,omitempty"`
	// StateSync lets a validator's new node begin from a snapshot of others instead
	// of the first block.
	StateSync bool `json:"state_sync,omitempty"`
	// Price is what a provider asks per work unit, as an amount.
	Price string `json:"price,omitempty"`
	// Slots are how many items a provider or checker runs at a time; 0: all cores.
	Slots int `json:"slots,omitempty"`
	// Region is where the provider says that it is, an ISO 3166 code; empty: unstated.
	Region string `json:"region,omitempty"`
	// FeePermille is what an indexer asks for a job, in thousandths of the pay and on top
	// of it, at most 1000. Hear are the countries whose providers it hears, ISO 3166
	// codes; none: all.
	FeePermille uint32   `json:"fee_permille,omitempty"`
	Hear        []string `json:"hear,omitempty"`
	// Bond is what the member bonds in each role, as an amount.
	Bond string `json:"bond,omitempty"`
	// Stake is what a new validator stakes, as an amount.
	Stake string `json:"stake,omitempty"`
	// Metrics is the loopback address at which figures are served; empty: nowhere.
	Metrics string `json:"metrics,omitempty"`
	// Limits are the owner's limits as written on the command line, by flag.
	Limits map[string]string `json:"limits,omitempty"`
	// Paused: the owner stopped the provider, until he says otherwise.
	Paused bool `json:"paused,omitempty"`
}

// ReadSettings reads node.json; a home without one has the defaults.
func (h *Home) ReadSettings() (Settings, error) {
	var s Settings
	b, err := os.ReadFile(h.Path("node.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		return s, fmt.Errorf("%s: %w: node.json: %v", h.dir, ErrDamaged, err)
	}
	return s, nil
}

// WriteSettings writes node.json.
func (h *Home) WriteSettings(s Settings) error { return h.writeJSON("node.json", s) }

// SetRoles changes the roles that the home plays.
func (h *Home) SetRoles(roles []string) error {
	h.info.Roles = roles
	return h.writeJSON("home.json", h.info)
}

// Invite is what a new member must know of a network. It is no secret, unless it
// carries the faucet of a private network.
type Invite struct {
	Format      int        `json:"format"` // 1
	Chain       string     `json:"chain"`
	Private     bool       `json:"private,omitempty"`
	Genesis     string     `json:"genesis"` // SHA-256 of the genesis file, in hex
	RPCs        []string   `json:"rpcs"`
	Bootstrap   []p2p.Peer `json:"bootstrap"`
	ChainPeers  []string   `json:"chain_peers,omitempty"`
	TrustHeight int64      `json:"trust_height,omitempty"`
	TrustHash   string     `json:"trust_hash,omitempty"`
	BlockMillis int64      `json:"block_millis,omitempty"`
	// Faucet is the secret key of a private network's play money, in hex.
	Faucet string `json:"faucet,omitempty"`
}

// Bounds of an invite.
const (
	MaxInviteBytes = 1 << 20
	maxInviteList  = 256
)

// ErrInvite reports bytes that are no invite.
var ErrInvite = errors.New("not an invite")

var chainForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,49}$`)

// CheckChain reports a name that no chain can have.
func CheckChain(id string) error {
	if !chainForm.MatchString(id) {
		return fmt.Errorf("chain id %q: use letters, digits, dot, - and _, at most 50, a letter or digit first", id)
	}
	return nil
}

// DecodeInvite reads an invite that somebody gave.
func DecodeInvite(b []byte) (*Invite, error) {
	if len(b) > MaxInviteBytes {
		return nil, fmt.Errorf("%w: it is over %d bytes", ErrInvite, MaxInviteBytes)
	}
	var v Invite
	if err := json.Unmarshal(b, &v); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrInvite, err)
	}
	if err := v.check(); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrInvite, err)
	}
	return &v, nil
}

// Encode writes an invite.
func (v *Invite) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(v, "", "  ")
	return append(b, '\n'), err
}

func (v *Invite) check() error {
	if v.Format != 1 {
		return fmt.Errorf("its format is %d and this gotong reads 1", v.Format)
	}
	if err := CheckChain(v.Chain); err != nil {
		return err
	}
	if len(v.RPCs) == 0 || len(v.RPCs) > maxInviteList || len(v.Bootstrap) > maxInviteList || len(v.ChainPeers) > maxInviteList {
		return fmt.Errorf("it names %d RPC nodes, %d peers and %d chain peers: want 1 to %d nodes and at most as many peers",
			len(v.RPCs), len(v.Bootstrap), len(v.ChainPeers), maxInviteList)
	}
	for _, u := range v.RPCs {
		if err := CheckRPC(u); err != nil {
			return err
		}
	}
	if (v.TrustHeight == 0) != (v.TrustHash == "") || v.TrustHeight < 0 {
		return errors.New("its trusted height and hash do not belong together")
	}
	for _, h := range []string{v.TrustHash, v.Genesis, v.Faucet} {
		if b, err := hex.DecodeString(h); err != nil || h != "" && len(b) != 32 {
			return fmt.Errorf("%.80q is not the hex of 32 bytes", h)
		}
	}
	if v.Faucet != "" && !v.Private {
		return errors.New("a public network has no faucet")
	}
	if v.BlockMillis < 0 || v.BlockMillis > 600_000 {
		return fmt.Errorf("blocks %d ms apart: want at most 10 minutes", v.BlockMillis)
	}
	return nil
}

// CheckRPC reports text that is not the URL of a chain node's RPC server.
func CheckRPC(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return fmt.Errorf("%.200q is not the URL of a chain node: write http://HOST:PORT", text)
	}
	return nil
}

// Network is what a member's home keeps of an invite.
func (v *Invite) Network() Network {
	return Network{Chain: v.Chain, RPC: v.RPCs[0], RPCs: v.RPCs, Bootstrap: v.Bootstrap, ChainPeers: v.ChainPeers, Genesis: v.Genesis,
		TrustHeight: v.TrustHeight, TrustHash: v.TrustHash, BlockMillis: v.BlockMillis}
}

// KeyFromSecret is the account key of 32 secret bytes.
func KeyFromSecret(name string, secret [32]byte) (*Key, error) { return keyOf(name, secret[:]) }
