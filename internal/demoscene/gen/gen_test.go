package main

import (
	"bytes"
	"testing"

	"github.com/gotong-network/gotong/internal/demoscene"
)

func TestSceneIsDeterministicAndEmbedded(t *testing.T) {
	t.Parallel()
	first, err := encodeScene()
	if err != nil {
		t.Fatal(err)
	}
	second, err := encodeScene()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Fatal("two runs of the generator give different scenes")
	}
	embedded, err := demoscene.Scene()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, embedded) {
		t.Error("the embedded scene is not the generator's: " + advice)
	}
}

func TestSceneIsDetailed(t *testing.T) {
	t.Parallel()
	m, err := compose()
	if err != nil {
		t.Fatal(err)
	}
	if n := len(m.triangles); n < 50_000 {
		t.Errorf("the scene has %d triangles, want at least 50,000", n)
	}
	for i, n := range m.normals {
		if l := n.length(); l < 0.99 || l > 1.01 {
			t.Fatalf("normal %d has length %g", i, l)
		}
	}
}

func TestBlueNoiseHoldsEveryRankOnce(t *testing.T) {
	t.Parallel()
	seen := map[uint16]bool{}
	for _, r := range blueNoise() {
		seen[r] = true
	}
	if len(seen) != maskSide*maskSide {
		t.Errorf("the mask holds %d different ranks, want %d", len(seen), maskSide*maskSide)
	}
}
