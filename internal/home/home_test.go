package home

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestHomeLife(t *testing.T) {
	dir := t.TempDir()
	if _, err := Open(dir); !errors.Is(err, ErrAbsent) {
		t.Fatalf("open of nothing: %v", err)
	}
	h, err := Create(dir, Info{Kind: Local, Chain: "c"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Create(dir, Info{Kind: Local, Chain: "c"}); !errors.Is(err, ErrExists) {
		t.Fatalf("second create: %v", err)
	}
	if err := h.Lock(); err != nil {
		t.Fatal(err)
	}
	other, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Lock(); !errors.Is(err, ErrInUse) {
		t.Fatalf("second lock: %v", err)
	}
	if !other.Running() {
		t.Fatal("a locked home counts as running")
	}
	if err := h.Unlock(); err != nil {
		t.Fatal(err)
	}
	if other.Running() {
		t.Fatal("an unlocked home does not run")
	}
	for text, want := range map[string]error{`{"format":99,"kind":"local","chain":"c"}`: ErrVersion, `{`: ErrDamaged} {
		if err := os.WriteFile(h.Path("home.json"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir); !errors.Is(err, want) {
			t.Errorf("home.json %s: %v, want %v", text, err, want)
		}
	}
}

func TestKeys(t *testing.T) {
	h, err := Create(t.TempDir(), Info{Kind: Member, Chain: "c"})
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewKey("alice")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := CheckAddress(string(k.Address)); err != nil {
		t.Fatal(err)
	}
	if err := h.SaveKey(k, ""); err == nil {
		t.Fatal("a member home took a plain key")
	}
	if err := h.SaveKey(k, "pass"); err != nil {
		t.Fatal(err)
	}
	if err := h.SaveKey(k, "pass"); !errors.Is(err, ErrExists) {
		t.Fatalf("overwriting a key: %v", err)
	}
	if _, err := h.LoadKey("alice", func() (string, error) { return "wrong", nil }); !errors.Is(err, ErrPassphrase) {
		t.Fatalf("wrong passphrase: %v", err)
	}
	got, err := h.LoadKey("alice", func() (string, error) { return "pass", nil })
	if err != nil || got.Address != k.Address || string(got.Secret()) != string(k.Secret()) {
		t.Fatalf("loaded %v, %v", got, err)
	}
	text, err := ExportKey(got, "other")
	if err != nil {
		t.Fatal(err)
	}
	back, err := ImportKey("bob", text, "other")
	if err != nil || back.Address != k.Address {
		t.Fatalf("imported %v, %v", back, err)
	}
	if s := fmt.Sprintf("%v %#v %s", got, got, got); strings.Contains(s, fmt.Sprintf("%x", k.Secret())) {
		t.Fatal("a printed key shows its secret")
	}
	if _, err := h.LoadKey("carol", nil); !errors.Is(err, ErrNoKey) {
		t.Fatalf("unknown key: %v", err)
	}
}

func TestClientKeyStays(t *testing.T) {
	h, err := Create(t.TempDir(), Info{Kind: Local, Chain: "c"})
	if err != nil {
		t.Fatal(err)
	}
	a, err := h.ClientKey()
	if err != nil {
		t.Fatal(err)
	}
	b, err := h.ClientKey()
	if err != nil || a.Public() != b.Public() {
		t.Fatalf("the second key is %s, the first was %s: %v", b.Public(), a.Public(), err)
	}
	if err := os.WriteFile(h.Path("client", "key"), []byte("zz"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := h.ClientKey(); !errors.Is(err, ErrDamaged) {
		t.Fatalf("a damaged key: %v", err)
	}
}
