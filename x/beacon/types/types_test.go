package types

import (
	"bytes"
	"testing"

	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519"
	"github.com/oasisprotocol/curve25519-voi/primitives/ed25519/extra/ecvrf"

	"github.com/gotong-network/gotong/work"
)

func TestProof(t *testing.T) {
	t.Parallel()
	good := ProofTx(bytes.Repeat([]byte{1}, ecvrf.ProofSize))
	if p, err := Proof([][]byte{good, {10, 1}}); err != nil || len(p) != ecvrf.ProofSize {
		t.Errorf("good block: %v", err)
	}
	for name, txs := range map[string][][]byte{
		"empty block":  nil,
		"no proof":     {{10, 1}},
		"proof second": {{10, 1}, good},
		"two proofs":   {good, good},
		"cut short":    {good[:len(good)-1]},
		"too long":     {append(bytes.Clone(good), 0)},
		"mark alone":   {good[:5]},
	} {
		if _, err := Proof(txs); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// The value follows the VRF's output, of which there is one per key and input.
func TestNext(t *testing.T) {
	t.Parallel()
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, 32))
	last := Origin("chain")
	proof := ecvrf.Prove(key, Input("chain", 1, last))
	ok, output := ecvrf.Verify(key.Public().(ed25519.PublicKey), proof, Input("chain", 1, last))
	if !ok {
		t.Fatal("own proof does not verify")
	}
	if ok, _ := ecvrf.Verify(key.Public().(ed25519.PublicKey), proof, Input("chain", 2, last)); ok {
		t.Error("a proof fits two heights")
	}
	if Next(last, output) == Next(work.Hash{}, output) {
		t.Error("the value forgets the one before")
	}
}

func TestKeyDelay(t *testing.T) {
	t.Parallel()
	k := Key{Public: []byte("old"), Next: []byte("new"), NextHeight: 10}
	if string(k.At(9)) != "old" || string(k.At(10)) != "new" {
		t.Errorf("at 9 %s, at 10 %s", k.At(9), k.At(10))
	}
	if (Key{}).At(5) != nil {
		t.Error("a validator without a key has one")
	}
}
