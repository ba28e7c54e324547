package work

import (
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/sign"
)

var update = flag.Bool("update", false, "rewrite the test vectors in docs/spec/canonical.md")

const spec = "../docs/spec/canonical.md"

func sampleLeaf() Leaf {
	return Leaf{Input: Hash{1}, Output: Hash{2}, Outcome: Outcome{Kind: Exited, Code: 3}, Fuel: 4_000_000_000, Memory: Hash{5}}
}

func sampleList(s Source) *ItemList {
	l := &ItemList{Args: []string{"-n", "{i}"}, Env: []string{"K=V"}, Stdin: BlobOf([]byte("in")), Shared: []File{{"model.bin", BlobOf([]byte("m"))}}, Out: "{i}.json", Source: s}
	switch s {
	case SourceRange:
		l.Range = Range{1, 241}
	case SourceEach:
		l.Each = []File{{"in/a.txt", BlobOf([]byte("a"))}, {"in/b.txt", BlobOf([]byte("b"))}}
	case SourceLines:
		l.Lines = []string{"first", "", "third"}
	case SourceGrid:
		l.Grid = []Axis{{"lr", []string{"1e-4", "3e-4"}}, {"bs", []string{"16", "32"}}}
	}
	return l
}

func sampleJob() *JobSpec {
	return &JobSpec{
		Chain: "gotong-1", Client: "gotong1client", Nonce: 7, Program: BlobOf([]byte("program")), Profile: "gw1",
		Items: BlobOf(sampleList(SourceRange).Encode()), ItemCount: 240,
		Limits: Limits{MemoryBytes: 512 << 20, Fuel: 1e12, OutputBytes: 64 << 20}, Seed: 9, Tier: TierEconomic, MaxPrice: 1000,
		Escrow: 5_000_000, CheckEscrow: 100_000, Indexer: sampleKey().Public(), IndexerOwner: "gotong1owner", IndexerPermille: 20, MaxCopies: 2, DeadlineHeight: 1000,
		Place: samplePlacement(),
	}
}

func samplePlacement() Placement {
	return Placement{Jurisdictions: []string{"DE-BY", "FR"}, Attesters: []sign.PublicKey{attesterKey().Public()}, Isolation: IsolationProcess,
		MaxRTTMillis: 50, MinCores: 4, MinMemoryBytes: 8 << 30, GPU: "rtx 4090", MaxPerOwner: 250, MaxPerPrefix: 500}
}

func attesterKey() sign.PrivateKey { return sign.FromSeed([32]byte{43}) }

func sampleAttestation() Attestation {
	a := Attestation{Subject: sampleKey().Public(), Claim: ClaimJurisdiction, Value: "ID-JK", IssuedUnix: 1_790_000_000, ExpiresUnix: 1_800_000_000}
	a.Sign(attesterKey())
	return a
}

func sampleKey() sign.PrivateKey { return sign.FromSeed([32]byte{42}) }

func sampleAssignment() *Assignment {
	a := &Assignment{Chain: "gotong-1", Job: sampleJob().ID(), Provider: "gotong1provider", Attempt: 1,
		Ranges: RangeSet{{0, 10}, {20, 30}}, Price: 900, ExpiresHeight: 500}
	a.Sign(sampleKey())
	return a
}

func sampleOffer() *Offer {
	o := &Offer{Chain: "gotong-1", Provider: "gotong1provider", Owner: "gotong1owner", Addrs: []string{"/ip4/127.0.0.1/tcp/4001"},
		Class: ClassCPU, Region: "ID", Slots: 2, MemoryBytes: 4 << 30, FuelPerSec: 2e9, Price: 900, Load: 250, Sequence: 3, ExpiresUnix: 1_800_000_000,
		Hardware: Hardware{CPU: "Example CPU 9000", Arch: "amd64", Cores: 8, Threads: 16, ISA: []string{"x86-64-v3", "aes"}, MemoryBytes: 32 << 30, DiskBytes: 500e9,
			GPUs: []GPU{{Name: "NVIDIA GeForce RTX 4090", MemoryBytes: 24 << 30, Driver: "nvidia 570.86"}}},
		Attestations: []Attestation{sampleAttestation()}}
	o.Sign(sampleKey())
	return o
}

func sampleOutput() Output {
	return Output{Stdout: BlobOf([]byte("out")), Stderr: BlobOf(nil), Files: []File{{"out/1.json", BlobOf([]byte("{}"))}}}
}

func encoded(f func(*Encoder)) []byte {
	var e Encoder
	f(&e)
	return e.Bytes()
}

// vectors are name and hex of canonical bytes and hashes of the samples.
func vectors(t *testing.T) string {
	var b strings.Builder
	add := func(name string, v []byte) { fmt.Fprintf(&b, "%-18s %s\n", name, hex.EncodeToString(v)) }
	hash := func(name string, h Hash) { add(name, h[:]) }

	blob := BlobOf([]byte("program"))
	add("blob", encoded(func(e *Encoder) { e.Blob(blob) }))
	hash("program.id", Program(blob, "gw1"))
	for s := SourceRange; s <= SourceGrid; s++ {
		add(fmt.Sprint("items.", s), sampleList(s).Encode())
	}
	it, err := sampleList(SourceRange).Item(1)
	if err != nil {
		t.Fatal(err)
	}
	hash("input.digest", it.InputDigest(Program(blob, "gw1"), sampleJob().Limits, 9))
	out := sampleOutput()
	add("output", encoded(out.Encode))
	hash("output.digest", out.Digest(Outcome{Kind: Exited}))
	leaf := sampleLeaf()
	add("leaf", leaf.Bytes())
	hash("leaf.hash", leaf.Hash())
	hash("item.salt", ItemSalt(Hash{6}, sampleJob().ID(), 17))
	nodes := []Node{ItemNode(1, Hash{1}, Hash{11}), ItemNode(2, Hash{2}, Hash{12}), ItemNode(3, Hash{3}, Hash{13})}
	hash("node.0", nodes[0].Hash)
	root, err := Root(nodes)
	if err != nil {
		t.Fatal(err)
	}
	hash("root.of.3", root.Hash)
	add("job", sampleJob().Encode())
	hash("job.id", sampleJob().ID())
	add("assignment", sampleAssignment().Encode())
	add("offer", sampleOffer().Encode())
	att := sampleAttestation()
	add("attestation", att.Encode())
	r := Result{Index: 17, Leaf: leaf, Output: out}
	add("result", encoded(r.Encode))
	hash("batch.id", BatchIDOf("gotong-1", sampleJob().ID(), "gotong1provider", RangeSet{{0, 3}}, root))
	return b.String()
}

// TestVectors holds the published vectors, so that nobody changes a canonical
// byte without seeing it.
func TestVectors(t *testing.T) {
	t.Parallel()
	checkVectors(t, "work", vectors(t))
}

func checkVectors(t *testing.T, name, got string) {
	t.Helper()
	text, err := os.ReadFile(spec)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(text), "<!-- vectors:"+name+" -->\n```\n")
	want, tail, ok2 := strings.Cut(rest, "```\n")
	if !ok1 || !ok2 {
		t.Fatalf("%s has no block of vectors for %s", spec, name)
	}
	if want == got {
		return
	}
	if !*update {
		t.Fatalf("canonical bytes differ from %s; got\n%s", spec, got)
	}
	if err := os.WriteFile(spec, []byte(head+"<!-- vectors:"+name+" -->\n```\n"+got+"```\n"+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}
