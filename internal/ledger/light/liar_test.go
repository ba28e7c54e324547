package light_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cometbft/cometbft/crypto/ed25519"
	cmtjson "github.com/cometbft/cometbft/libs/json"
	ctypes "github.com/cometbft/cometbft/rpc/core/types"
	rpctypes "github.com/cometbft/cometbft/rpc/jsonrpc/types"
	cmttypes "github.com/cometbft/cometbft/types"

	"github.com/gotong-network/gotong/internal/chainnode"
	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/cosmos"
	"github.com/gotong-network/gotong/internal/ledger/light"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/sign"
	"github.com/gotong-network/gotong/work"
	prooftypes "github.com/gotong-network/gotong/x/proof/types"
	registry "github.com/gotong-network/gotong/x/registry/types"
)

// call is a request to a node, as a proxy in front of it sees it.
type call struct {
	method string
	params map[string]json.RawMessage
	node   *proxy
}

func (c *call) text(name string) string {
	var s string
	_ = json.Unmarshal(c.params[name], &s)
	return s
}

// proxy stands in front of a node; forge may change what it answers, or answer itself.
type proxy struct {
	*httptest.Server
	target string
	forge  func(c *call, answer json.RawMessage) (json.RawMessage, bool)
}

// newProxy is the node itself until it lies.
func newProxy(t *testing.T, n *chainnode.Node, forge func(*call, json.RawMessage) (json.RawMessage, bool)) *proxy {
	p := &proxy{target: n.RPC(), forge: forge}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

// ServeHTTP implements http.Handler.
func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	res := p.pass(r.Context(), body)
	var q struct {
		Method string
		Params map[string]json.RawMessage
	}
	if json.Unmarshal(body, &q) == nil && res.Error == nil {
		if forged, ok := p.forge(&call{q.Method, q.Params, p}, res.Result); ok {
			res.Result = forged
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(res)
}

func (p *proxy) pass(ctx context.Context, body []byte) (res rpctypes.RPCResponse) {
	req, _ := http.NewRequestWithContext(ctx, http.MethodPost, p.target, bytes.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	r, err := http.DefaultClient.Do(req)
	if err != nil {
		res.Error = &rpctypes.RPCError{Message: err.Error()}
		return res
	}
	defer r.Body.Close()
	if err := json.NewDecoder(r.Body).Decode(&res); err != nil {
		res.Error = &rpctypes.RPCError{Message: err.Error()}
	}
	return res
}

// ask sends another request than the one that came.
func (c *call) ask(method string, params map[string]any) json.RawMessage {
	body, _ := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 0, "method": method, "params": params})
	return c.node.pass(context.Background(), body).Result
}

// on changes the answers to one method, as the type that they are.
func on[T any](method string, change func(*call, *T) bool) func(*call, json.RawMessage) (json.RawMessage, bool) {
	return func(c *call, answer json.RawMessage) (json.RawMessage, bool) {
		if c.method != method {
			return nil, false
		}
		v := new(T)
		if err := cmtjson.Unmarshal(answer, v); err != nil || !change(c, v) {
			return nil, false
		}
		b, err := cmtjson.Marshal(v)
		return b, err == nil
	}
}

// partyQuery reports whether a call reads the honest provider's record.
func partyQuery(c *call) bool {
	key, _ := hex.DecodeString(c.text("data"))
	return c.method == "abci_query" && c.text("path") == "/store/registry/key" && bytes.HasSuffix(key, []byte(address(honest)))
}

// lies are what a node may say that is not so.
var lies = map[string]func(*call, json.RawMessage) (json.RawMessage, bool){
	"another state": on("commit", func(_ *call, r *ctypes.ResultCommit) bool {
		r.AppHash = bytes.Repeat([]byte{7}, 32)
		return true
	}),
	"a header that it signed itself": on("commit", func(_ *call, r *ctypes.ResultCommit) bool {
		if r.Height == 1 {
			return false // the trusted one
		}
		*r = *forgedCommit(r)
		return true
	}),
	"other validators": on("validators", func(_ *call, r *ctypes.ResultValidators) bool {
		r.Validators = []*cmttypes.Validator{cmttypes.NewValidator(ed25519.GenPrivKey().PubKey(), 10)}
		return true
	}),
	"headers that are not linked": on("blockchain", func(_ *call, r *ctypes.ResultBlockchainInfo) bool {
		for _, m := range r.BlockMetas {
			m.Header.Time = m.Header.Time.Add(time.Hour)
		}
		return true
	}),
	"a true proof of another key": func(c *call, _ json.RawMessage) (json.RawMessage, bool) {
		if !partyQuery(c) {
			return nil, false
		}
		key, _ := hex.DecodeString(c.text("data"))
		other := append(bytes.Clone(key[:len(key)-len(address(honest))]), address(cheat)...)
		return c.ask("abci_query", map[string]any{"path": c.text("path"), "data": hex.EncodeToString(other), "height": c.text("height"), "prove": true}), true
	},
	"a true absence of another key": func(c *call, _ json.RawMessage) (json.RawMessage, bool) {
		if !partyQuery(c) {
			return nil, false
		}
		key, _ := hex.DecodeString(c.text("data"))
		return c.ask("abci_query", map[string]any{"path": c.text("path"), "data": hex.EncodeToString(append(key, 'x')), "height": c.text("height"), "prove": true}), true
	},
	"a true proof of another height": func(c *call, _ json.RawMessage) (json.RawMessage, bool) {
		if !partyQuery(c) {
			return nil, false
		}
		return c.ask("abci_query", map[string]any{"path": c.text("path"), "data": c.text("data"), "height": "5", "prove": true}), true
	},
	"another value under a true proof": on("abci_query", func(c *call, r *ctypes.ResultABCIQuery) bool {
		if partyQuery(c) {
			r.Response.Value = bytes.Replace(r.Response.Value, []byte(`"bond":`), []byte(`"bond":9`), 1)
		}
		return partyQuery(c)
	}),
	"no value under a true proof": on("abci_query", func(c *call, r *ctypes.ResultABCIQuery) bool {
		if partyQuery(c) {
			r.Response.Value = nil
		}
		return partyQuery(c)
	}),
	"an event withheld": on("block_results", func(_ *call, r *ctypes.ResultBlockResults) bool {
		for _, t := range r.TxsResults {
			t.Events = nil
		}
		return true
	}),
	"an event forged": on("block_results", func(_ *call, r *ctypes.ResultBlockResults) bool {
		for _, t := range r.TxsResults {
			for _, e := range t.Events {
				for i := range e.Attributes {
					e.Attributes[i].Value = strings.ReplaceAll(e.Attributes[i].Value, string(address(honest)), string(address(cheat)))
				}
			}
		}
		return true
	}),
	"a party left out of a list": on("abci_query", func(c *call, r *ctypes.ResultABCIQuery) bool {
		return c.text("path") == "/gotong.registry.v1.Query/Parties" && parties(r, func(l [][]byte) [][]byte { return l[1:] })
	}),
	"a party made up in a list": on("abci_query", func(c *call, r *ctypes.ResultABCIQuery) bool {
		return c.text("path") == "/gotong.registry.v1.Query/Parties" && parties(r, func(l [][]byte) [][]byte {
			return append(l, []byte(`{"account":"gotong1zzzzzzzzzzzzzzzzzzzz"}`))
		})
	}),
}

// parties changes a list of them.
func parties(r *ctypes.ResultABCIQuery, change func([][]byte) [][]byte) bool {
	var v registry.QueryPartiesResponse
	if v.Unmarshal(r.Response.Value) != nil || len(v.Parties) == 0 {
		return false
	}
	v.Parties = change(v.Parties)
	r.Response.Value, _ = v.Marshal()
	return true
}

// forgedCommit is a header with another state, signed by validators of the liar.
func forgedCommit(r *ctypes.ResultCommit) *ctypes.ResultCommit {
	key := ed25519.GenPrivKey()
	set := cmttypes.NewValidatorSet([]*cmttypes.Validator{cmttypes.NewValidator(key.PubKey(), 100)})
	h := *r.Header
	h.AppHash, h.ValidatorsHash, h.NextValidatorsHash = bytes.Repeat([]byte{7}, 32), set.Hash(), set.Hash()
	id := cmttypes.BlockID{Hash: h.Hash(), PartSetHeader: r.Commit.BlockID.PartSetHeader}
	v := &cmttypes.Vote{Type: 2, Height: h.Height, BlockID: id, Timestamp: h.Time, ValidatorAddress: key.PubKey().Address()}
	pb := v.ToProto()
	sig, _ := key.Sign(cmttypes.VoteSignBytes(h.ChainID, pb))
	return &ctypes.ResultCommit{SignedHeader: cmttypes.SignedHeader{Header: &h, Commit: &cmttypes.Commit{Height: h.Height, BlockID: id,
		Signatures: []cmttypes.CommitSig{{BlockIDFlag: cmttypes.BlockIDFlagCommit, ValidatorAddress: v.ValidatorAddress, Timestamp: h.Time, Signature: sig}}}}}
}

// story is a chain on which something has happened, up to a height.
type story struct {
	node    *chainnode.Node
	height  int64
	events  []ledger.Event
	party   lifecycle.Party
	parties int
}

func tell(t *testing.T) *story {
	s := &story{node: startNode(t), parties: 3}
	c := cosmos.New(s.node.Client())
	defer c.Close()
	var last ledger.Included
	for i, n := range []byte{honest, cheat, checker0} {
		c.AddKey(secret(n))
		in, err := c.Submit(t.Context(), address(n), ledger.Register{Role: lifecycle.RoleProvider, Peer: sign.PublicKey{n}, Bond: work.Amount(100+i) * work.UgtgPerGtg})
		if err != nil {
			t.Fatal(err)
		}
		last = in
	}
	// Job and what follows are in the conformance suite.
	s.height = last.Height
	stop := errors.New("stop")
	if err := c.Follow(t.Context(), 1, func(b ledger.Block) error {
		s.events = append(s.events, b.Events...)
		if b.Height == s.height+6 {
			return stop
		}
		return nil
	}); err != stop {
		t.Fatal(err)
	}
	p, err := c.Party(t.Context(), lifecycle.RoleProvider, address(honest))
	if err != nil {
		t.Fatal(err)
	}
	s.party = *p
	if len(s.events) == 0 {
		t.Fatal("nothing happened")
	}
	return s
}

// listen asks a client about all of the story. What it says is right, or an error.
func (s *story) listen(t *testing.T, ctx context.Context, l *light.Client) error {
	t.Helper()
	p, err := l.Party(ctx, lifecycle.RoleProvider, address(honest))
	if err != nil {
		return err
	}
	if p.Bond != s.party.Bond || p.Account != s.party.Account {
		t.Errorf("it believes that the party is %+v", p)
	}
	all, err := l.Parties(ctx, lifecycle.RoleProvider)
	if err != nil {
		return err
	}
	if len(all) != s.parties {
		t.Errorf("it believes in %d parties, there are %d", len(all), s.parties)
	}
	var events []ledger.Event
	stop := errors.New("stop")
	err = l.Follow(ctx, 1, func(b ledger.Block) error {
		events = append(events, b.Events...)
		if b.Height == s.height+2 {
			return stop
		}
		return nil
	})
	if err != stop {
		return err
	}
	want, _ := json.Marshal(s.events)
	if got, _ := json.Marshal(events); !bytes.Equal(got, want) {
		t.Errorf("it believes that there were the events %s, there were %s", got, want)
	}
	return nil
}

// TestLiars has a client ask a liar first. With an honest node beside it the truth is
// found and the liar is left, by name; alone it makes nobody believe anything.
func TestLiars(t *testing.T) {
	t.Parallel()
	s := tell(t)
	for what, forge := range lies {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			liar := newProxy(t, s.node, forge)
			var log logged
			l := dial(t, s.node, light.Config{RPCs: []string{liar.URL, s.node.RPC()}, Log: slog.New(slog.NewTextHandler(&log, nil))})
			if err := s.listen(t, t.Context(), l); err != nil {
				t.Fatal(err)
			}
			for _, n := range l.Nodes() {
				if want := map[string]light.State{liar.URL: light.Lying, s.node.RPC(): light.Good}[n.URL]; n.State != want {
					t.Errorf("node %+v is not %s: %s", n, want, log.String())
				}
			}
			if text := log.String(); !strings.Contains(text, "node="+liar.URL+" state=lying why=") {
				t.Errorf("the log does not name the liar: %s", text)
			}
			if strings.Contains(what, "list") {
				return // alone its list is complete as far as anybody knows
			}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			alone := dial(t, s.node, light.Config{RPCs: []string{liar.URL}})
			go func() {
				for ctx.Err() == nil && alone.Nodes()[0].State != light.Lying {
					time.Sleep(20 * time.Millisecond)
				}
				cancel()
			}()
			if err := s.listen(t, ctx, alone); err == nil {
				t.Error("the liar alone was believed")
			}
			if n := alone.Nodes()[0]; n.State != light.Lying || n.Why == "" {
				t.Errorf("the liar alone is %+v", n)
			}
		})
	}
}

// logged is a log to read.
type logged struct {
	mu  sync.Mutex // guards buf
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// TestInclusion has nodes that swallow a transaction, or say that one that failed was
// done.
func TestInclusion(t *testing.T) {
	t.Parallel()
	s := tell(t)
	t.Run("swallowed", func(t *testing.T) {
		t.Parallel()
		var swallowed atomic.Int64
		p := newProxy(t, s.node, nil)
		// It must not reach the node, so that it is answered before it is passed on.
		p.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			if bytes.Contains(body, []byte(`"broadcast_tx_sync"`)) {
				swallowed.Add(1)
				b, _ := cmtjson.Marshal(&ctypes.ResultBroadcastTx{})
				_ = json.NewEncoder(w).Encode(rpctypes.RPCResponse{JSONRPC: "2.0", ID: rpctypes.JSONRPCIntID(0), Result: b})
				return
			}
			_ = json.NewEncoder(w).Encode(p.pass(r.Context(), body))
		})
		l := dial(t, s.node, light.Config{RPCs: []string{p.URL, s.node.RPC()}})
		if _, err := l.Submit(t.Context(), address(client), ledger.Send{To: address(checker1), Amount: 5}); err != nil {
			t.Error(err)
		}
		if swallowed.Load() == 0 {
			t.Error("the censor was not asked")
		}
	})
	t.Run("failed", func(t *testing.T) {
		t.Parallel()
		p := newProxy(t, s.node, on("block_results", func(_ *call, r *ctypes.ResultBlockResults) bool {
			for _, t := range r.TxsResults {
				t.Code = 0
			}
			return true
		}))
		l := dial(t, s.node, light.Config{RPCs: []string{p.URL, s.node.RPC()}})
		if _, err := l.Submit(t.Context(), address(cheat), ledger.CommitCheck{Batch: work.Hash{1}}); !errors.Is(err, ledger.ErrRefused) {
			t.Errorf("a message that failed: %v", err)
		}
	})
}

// TestFar follows a chain from long ago by a node that is far away: results for all that
// it missed would take longer than one call may, so it takes them in parts.
func TestFar(t *testing.T) {
	t.Parallel()
	s := tell(t)
	s.reaches(t, 60)
	far := newProxy(t, s.node, func(c *call, _ json.RawMessage) (json.RawMessage, bool) {
		if c.method == "block_results" {
			time.Sleep(500 * time.Millisecond)
		}
		return nil, false
	})
	var log logged
	l := dial(t, s.node, light.Config{RPCs: []string{far.URL}, Log: slog.New(slog.NewTextHandler(&log, nil))})
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	if err := s.listen(t, ctx, l); err != nil {
		t.Fatalf("%v\n%s", err, log.String())
	}
	if strings.Contains(log.String(), "left a node") {
		t.Errorf("an honest node that is far away was left: %s", log.String())
	}
}

// TestFlood has a node invent large events for every height: it is found out after the
// first ones, not after all of them are in memory.
func TestFlood(t *testing.T) {
	t.Parallel()
	s := tell(t)
	s.reaches(t, 40)
	var asked atomic.Int64
	text := "{}" + strings.Repeat(" ", 5<<20)
	flood := newProxy(t, s.node, on("block_results", func(_ *call, r *ctypes.ResultBlockResults) bool {
		asked.Add(1)
		r.FinalizeBlockEvents = append(r.FinalizeBlockEvents, abci.Event{Type: prooftypes.EventType,
			Attributes: []abci.EventAttribute{{Key: prooftypes.EventAttribute, Value: text}}})
		return true
	}))
	l := dial(t, s.node, light.Config{RPCs: []string{flood.URL, s.node.RPC()}})
	if err := s.listen(t, t.Context(), l); err != nil {
		t.Fatal(err)
	}
	if n := asked.Load(); n == 0 || n > 8 {
		t.Errorf("it was asked for %d heights of 5 MiB each", n)
	}
}

// reaches waits for a height.
func (s *story) reaches(t *testing.T, height int64) {
	t.Helper()
	for h := int64(0); h < height; time.Sleep(20 * time.Millisecond) {
		st, err := s.node.Client().Status(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		h = st.SyncInfo.LatestBlockHeight
	}
}

// TestLeaves has nodes that lag and that are gone: the client goes on with the other
// one, and takes both again.
func TestLeaves(t *testing.T) {
	t.Parallel()
	s := tell(t)
	var stuck atomic.Bool
	var at atomic.Pointer[json.RawMessage]
	lagging := newProxy(t, s.node, func(c *call, answer json.RawMessage) (json.RawMessage, bool) {
		if c.method != "commit" || c.params["height"] != nil && string(c.params["height"]) != "null" {
			return nil, false
		}
		if !stuck.Load() {
			at.Store(&answer)
			return nil, false
		}
		return *at.Load(), true
	})
	gone := newProxy(t, s.node, func(*call, json.RawMessage) (json.RawMessage, bool) { return nil, false })
	l := dial(t, s.node, light.Config{RPCs: []string{lagging.URL, gone.URL, s.node.RPC()}})
	if err := s.listen(t, t.Context(), l); err != nil {
		t.Fatal(err)
	}
	stuck.Store(true)
	gone.Close()
	state := func(url string) light.State {
		for _, n := range l.Nodes() {
			if n.URL == url {
				return n.State
			}
		}
		return ""
	}
	await := func(what string, is func() bool) {
		t.Helper()
		for end := time.Now().Add(90 * time.Second); !is(); {
			if time.Now().After(end) {
				t.Fatalf("%s did not come: %+v", what, l.Nodes())
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	await("leaving the node that lags", func() bool { return state(lagging.URL) == light.Lagging })
	await("leaving the node that is gone", func() bool { return state(gone.URL) == light.Dead })
	if _, err := l.Submit(t.Context(), address(client), ledger.Send{To: address(checker2), Amount: 5}); err != nil {
		t.Error(err)
	}
	stuck.Store(false)
	await("taking the node again", func() bool { return state(lagging.URL) == light.Good })
}

// TestRestart begins with the kept header, also when the invite is of a chain that is
// long gone from the nodes' memory.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := tell(t)
	dir := t.TempDir()
	c := light.Config{Chain: chainID, RPCs: []string{s.node.RPC()}, Dir: dir, Poll: 20 * time.Millisecond}
	c.TrustHeight, c.TrustHash = trust(t, s.node)
	l, err := light.Dial(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := l.Params(t.Context()); err != nil {
		t.Fatal(err)
	}
	height, hash := l.Trusted()
	if err := l.Close(); err != nil || height < 2 || len(hash) != 32 {
		t.Fatalf("trusted %d %X, %v", height, hash, err)
	}
	c.TrustHash = bytes.Repeat([]byte{1}, 32) // no node has it: only what was kept helps
	again, err := light.Dial(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if _, err := again.Params(t.Context()); err != nil {
		t.Error(err)
	}
	c.Chain = "another"
	if _, err := light.Dial(t.Context(), c); err == nil || !strings.Contains(err.Error(), "another network") {
		t.Errorf("another chain's home: %v", err)
	}
}
