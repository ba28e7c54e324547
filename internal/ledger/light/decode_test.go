package light

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/cometbft/cometbft/crypto/ed25519"
	"github.com/cometbft/cometbft/proto/tendermint/crypto"
	cmttypes "github.com/cometbft/cometbft/types"
	"github.com/cosmos/iavl"
	iavldb "github.com/cosmos/iavl/db"
	ics23 "github.com/cosmos/ics23/go"

	"cosmossdk.io/log/v2"
)

// tree is a store of a state, with a proof for each of its keys and the keys between.
func tree(t testing.TB, keys ...string) func(key string) ([]byte, *crypto.ProofOps) {
	m := iavl.NewMutableTree(iavldb.NewMemDB(), 100, false, log.NewNopLogger())
	for i, k := range keys {
		value := []byte{byte(i)}
		if i%2 == 1 {
			value = []byte{} // as sets have them
		}
		if _, err := m.Set([]byte(k), value); err != nil {
			t.Fatal(err)
		}
	}
	root, _, err := m.SaveVersion()
	if err != nil {
		t.Fatal(err)
	}
	// The tree of stores has one leaf: its root is that leaf's hash.
	outer := &ics23.CommitmentProof{Proof: &ics23.CommitmentProof_Exist{Exist: &ics23.ExistenceProof{Key: []byte("s"), Value: root, Leaf: ics23.TendermintSpec.LeafSpec}}}
	app, err := outer.Calculate()
	if err != nil {
		t.Fatal(err)
	}
	return func(key string) ([]byte, *crypto.ProofOps) {
		inner, err := m.GetProof([]byte(key))
		if err != nil {
			t.Fatal(err)
		}
		a, err1 := inner.Marshal()
		b, err2 := outer.Marshal()
		if err := errors.Join(err1, err2); err != nil {
			t.Fatal(err)
		}
		return app, &crypto.ProofOps{Ops: []crypto.ProofOp{{Type: storeOp, Key: []byte(key), Data: a}, {Type: rootOp, Key: []byte("s"), Data: b}}}
	}
}

// Every absence is proved, also beside keys without a value; no proof is good for
// another key, value, store or state.
func TestCheckProof(t *testing.T) {
	t.Parallel()
	prove := tree(t, "b", "d", "f", "h", "j", "l", "n")
	for _, key := range []string{"a", "c", "e", "g", "i", "k", "m", "o"} {
		app, ops := prove(key)
		if err := checkProof(app, "s", []byte(key), nil, ops); err != nil {
			t.Errorf("absence of %s: %v", key, err)
		}
		if err := checkProof(app, "s", []byte(key), []byte("v"), ops); err == nil {
			t.Errorf("%s has a value by a proof of its absence", key)
		}
		for _, other := range []string{"a", "b", "c", "d", "n", "o"} {
			forged := &crypto.ProofOps{Ops: []crypto.ProofOp{{Type: storeOp, Key: []byte(other), Data: ops.Ops[0].Data}, ops.Ops[1]}}
			if err := checkProof(app, "s", []byte(other), nil, forged); err == nil && other != key {
				t.Errorf("%s is absent by the proof of %s", other, key)
			}
		}
	}
	for i, key := range []string{"b", "f", "j", "n"} {
		app, ops := prove(key)
		value := []byte{byte(4 * i / 2)}
		if err := checkProof(app, "s", []byte(key), value, ops); err != nil {
			t.Errorf("%s: %v", key, err)
		}
		for what, err := range map[string]error{
			"another value": checkProof(app, "s", []byte(key), []byte("x"), ops),
			"absence":       checkProof(app, "s", []byte(key), nil, ops),
			"another store": checkProof(app, "t", []byte(key), value, ops),
			"another state": checkProof(bytes.Repeat([]byte{1}, 32), "s", []byte(key), value, ops),
			"no proof":      checkProof(app, "s", []byte(key), value, nil),
			"half a proof":  checkProof(app, "s", []byte(key), value, &crypto.ProofOps{Ops: ops.Ops[:1]}),
		} {
			if err == nil {
				t.Errorf("%s: %s was believed", key, what)
			}
		}
	}
}

// No bytes make the check panic, and none prove what is not so.
func FuzzProof(f *testing.F) {
	prove := tree(f, "b", "d", "f", "h")
	for _, key := range []string{"a", "b", "c", "d", "f", "i"} {
		_, ops := prove(key)
		f.Add(ops.Ops[0].Data, ops.Ops[1].Data)
	}
	app, _ := prove("b")
	f.Fuzz(func(t *testing.T, a, b []byte) {
		ops := &crypto.ProofOps{Ops: []crypto.ProofOp{{Type: storeOp, Key: []byte("f"), Data: a}, {Type: rootOp, Key: []byte("s"), Data: b}}}
		if checkProof(app, "s", []byte("f"), nil, ops) == nil || checkProof(app, "s", []byte("f"), []byte("x"), ops) == nil {
			t.Error("a lie was proved")
		}
	})
}

// answer is a node that gives the same answer to everything.
type answer []byte

func (a answer) RoundTrip(r *http.Request) (*http.Response, error) {
	return &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(bytes.NewReader(a)), Request: r}, nil
}

// fuzzed is a chain that trusts a header of its own, and one node of that answer.
func fuzzed(t testing.TB, result []byte) (*source, *node) {
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": -1, "result": json.RawMessage(result)})
	if err != nil {
		body = result
	}
	s, err := newSource(Config{Chain: "fuzz", RPCs: []string{"http://127.0.0.1:1"}, TrustHeight: 1, TrustHash: make([]byte, 32), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	n := s.pool.nodes[0]
	n.http.Transport = bounded{answer(body)}
	key := ed25519.GenPrivKeyFromSecret([]byte("fuzz"))
	set := cmttypes.NewValidatorSet([]*cmttypes.Validator{cmttypes.NewValidator(key.PubKey(), 10)})
	h := &cmttypes.Header{ChainID: "fuzz", Height: 10, Time: time.Now(), ValidatorsHash: set.Hash(), NextValidatorsHash: set.Hash(), AppHash: bytes.Repeat([]byte{3}, 32),
		ProposerAddress: key.PubKey().Address()}
	s.chain.trust(&cmttypes.LightBlock{SignedHeader: &cmttypes.SignedHeader{Header: h, Commit: &cmttypes.Commit{Height: 10}}, ValidatorSet: set})
	return s, n
}

// Whatever a node answers to whatever it is asked: nobody panics, nothing is believed.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `{"signed_header":{"header":{"chain_id":"fuzz","height":"11"},"commit":{"height":"11","signatures":[{}]}},"canonical":false}`,
		`{"block_height":"10","validators":[{"address":"AA","pub_key":{"type":"tendermint/PubKeyEd25519","value":"AA=="},"voting_power":"10"}],"count":"1","total":"1"}`,
		`{"last_height":"12","block_metas":[null]}`, `{"last_height":"12","block_metas":[{"header":{"height":"9"}}]}`,
		`{"height":"9","txs_results":[null],"finalize_block_events":[{"type":"gotong","attributes":[{"key":"event","value":"{}"}]}]}`,
		`{"block_id":{},"block":{"data":{"txs":["AA=="]}}}`, `{"response":{"code":0,"value":"AA==","height":"9","proofOps":{"ops":[{},{}]}}}`, `{"response":{"value":"CgRudWxs"}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, result []byte) {
		s, n := fuzzed(t, result)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		before := s.chain.newest()
		_ = s.chain.update(ctx, n)
		_, _ = s.chain.witness(ctx, n)
		if s.chain.newest() != before {
			t.Error("a header was believed")
		}
		_, _ = n.validators(ctx, 11)
		if _, err := s.events.fetch(ctx, n, 9); err == nil {
			t.Error("events were believed")
		}
		if _, err := s.results.fetch(ctx, n, 9); err == nil {
			t.Error("results were believed")
		}
		for path := range queries {
			if path != "/cosmos.gov.v1.Query/TallyResult" && path != "/gotong.proof.v1.Query/Conserved" {
				if r, err := s.state.query(ctx, path, nil); err == nil && r.Code == 0 && len(r.Value) > 0 {
					t.Errorf("%s was answered: %X", path, r.Value)
				}
			}
		}
		_, _, _ = decodeSaved(result)
	})
}
