package work

import (
	"bytes"
	"testing"

	"github.com/gotong-network/gotong/sign"
)

// roundTrip fuzzes a decoder: it never panics, and what it accepts has exactly one
// encoding, the one it read.
func roundTrip(f *testing.F, seeds [][]byte, decode func([]byte) ([]byte, error)) {
	for _, s := range seeds {
		f.Add(s)
		f.Add(s[:len(s)/2])
		f.Add(append(bytes.Clone(s), 0))
	}
	f.Add([]byte(nil))
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	for i, s := range seeds {
		if again, err := decode(s); err != nil || !bytes.Equal(again, s) {
			f.Fatalf("seed %d does not decode to itself: %v", i, err)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		again, err := decode(b)
		if err == nil && !bytes.Equal(again, b) {
			t.Fatalf("%x was accepted and is encoded as %x", b, again)
		}
	})
}

func FuzzDecodeItemList(f *testing.F) {
	var seeds [][]byte
	for s := SourceRange; s <= SourceGrid; s++ {
		seeds = append(seeds, sampleList(s).Encode())
	}
	roundTrip(f, seeds, func(b []byte) ([]byte, error) {
		l, err := DecodeItemList(b)
		if err != nil {
			return nil, err
		}
		for _, i := range []uint64{0, l.Len() - 1, l.Len()} {
			_, _ = l.Item(i)
		}
		l.Blobs(Range{0, 3})
		return l.Encode(), nil
	})
}

func FuzzDecodeJobSpec(f *testing.F) {
	plain := sampleJob()
	plain.Place = Placement{}
	roundTrip(f, [][]byte{sampleJob().Encode(), plain.Encode()}, func(b []byte) ([]byte, error) {
		s, err := DecodeJobSpec(b)
		if err != nil {
			return nil, err
		}
		_ = s.Validate()
		return s.Encode(), nil
	})
}

func FuzzDecodeAssignment(f *testing.F) {
	roundTrip(f, [][]byte{sampleAssignment().Encode()}, func(b []byte) ([]byte, error) {
		a, err := DecodeAssignment(b)
		if err != nil {
			return nil, err
		}
		_ = a.Verify(sampleKey().Public())
		return a.Encode(), nil
	})
}

func FuzzDecodeAttestation(f *testing.F) {
	a := sampleAttestation()
	roundTrip(f, [][]byte{a.Encode()}, func(b []byte) ([]byte, error) {
		a, err := DecodeAttestation(b)
		if err != nil {
			return nil, err
		}
		if a.Holds(sampleKey().Public(), []sign.PublicKey{attesterKey().Public()}, 1_795_000_000) && a.Verify() != nil {
			panic("an attestation holds that is not valid")
		}
		return a.Encode(), nil
	})
}

func FuzzDecodeOffer(f *testing.F) {
	plain := sampleOffer()
	plain.Hardware, plain.Attestations = Hardware{}, nil
	plain.Sign(sampleKey())
	roundTrip(f, [][]byte{sampleOffer().Encode(), plain.Encode()}, func(b []byte) ([]byte, error) {
		o, err := DecodeOffer(b)
		if err != nil {
			return nil, err
		}
		_ = o.Verify()
		return o.Encode(), nil
	})
}

func FuzzDecodeResult(f *testing.F) {
	r := Result{Index: 17, Leaf: sampleLeaf(), Output: sampleOutput()}
	roundTrip(f, [][]byte{encoded(r.Encode)}, func(b []byte) ([]byte, error) {
		d := NewDecoder(b)
		r := DecodeResult(d)
		err := d.Done()
		return encoded(r.Encode), err
	})
}

func FuzzParseLeaf(f *testing.F) {
	roundTrip(f, [][]byte{sampleLeaf().Bytes()}, func(b []byte) ([]byte, error) {
		l, err := ParseLeaf(b)
		return l.Bytes(), err
	})
}

func FuzzDecodeRangeSet(f *testing.F) {
	roundTrip(f, [][]byte{encoded(RangeSet{{0, 1}, {5, 9}}.Encode), encoded(RangeSet(nil).Encode)}, func(b []byte) ([]byte, error) {
		d := NewDecoder(b)
		s := DecodeRangeSet(d, 1024)
		if err := d.Done(); err != nil {
			return nil, err
		}
		if s.Validate() != nil || NewRangeSet(s...).Len() != s.Len() {
			panic("accepted ranges are not canonical")
		}
		return encoded(s.Encode), nil
	})
}

// FuzzText feeds every parser of text: none panics, and what one accepts prints
// to something it accepts as the same value.
func FuzzText(f *testing.F) {
	for _, s := range []string{"1.5gtg", "12ugtg", "0.000001gtg", "18446744073709.551615gtg", "-1gtg", "1e3gtg", "economic", Hash{1}.String(), BlobOf(nil).String(), "", ":", "{i}{"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if v, err := ParseAmount(s); err == nil {
			if again, err := ParseAmount(v.String()); err != nil || again != v {
				t.Fatalf("amount %q prints as %s", s, v)
			}
		}
		if h, err := ParseHash(s); err == nil {
			if again, err := ParseHash(h.String()); err != nil || again != h {
				t.Fatalf("hash %q prints as %s", s, h)
			}
		}
		if b, err := ParseBlobID(s); err == nil {
			if again, err := ParseBlobID(b.String()); err != nil || again != b {
				t.Fatalf("blob %q prints as %s", s, b)
			}
		}
		if v, err := ParseTier(s); err == nil && v.String() != s {
			t.Fatalf("tier %q prints as %s", s, v)
		}
		_ = CheckPath(s)
		if got := Expand(s, nil); got != s {
			t.Fatalf("%q expands to %q without any names", s, got)
		}
	})
}

// FuzzVerifyPath: a path that is accepted is the tree's own.
func FuzzVerifyPath(f *testing.F) {
	nodes := make([]Node, 11)
	for i := range nodes {
		nodes[i] = ItemNode(Fuel(i+1), Hash{byte(i)}, Hash{})
	}
	root, err := Root(nodes)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint64(11), uint64(4), []byte{})
	f.Fuzz(func(t *testing.T, n, i uint64, b []byte) {
		d := NewDecoder(b)
		var path []Node
		for d.Left() >= 40 {
			path = append(path, Node{Fuel(d.U64()), d.Hash()})
		}
		_, _ = VerifyPath(root, n, i, Node{1, Hash{1}}, path)
		if i < 11 {
			node := nodes[i]
			node.Fuel += Fuel(len(b))
			_, err := VerifyPath(root, n, i, node, path)
			own, _ := Path(nodes, i)
			same := len(b) == 0 && n == 11 && len(own) == len(path)
			if err == nil && !same {
				t.Fatalf("a foreign path to item %d of %d was accepted", i, n)
			}
		}
	})
}
