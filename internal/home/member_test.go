package home

import (
	"errors"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseRoles(t *testing.T) {
	t.Parallel()
	got, err := ParseRoles("provider, validator,provider,")
	if err != nil || !reflect.DeepEqual(got, []string{RoleValidator, RoleProvider}) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := ParseRoles("provider,king"); err == nil || !strings.Contains(err.Error(), "king") {
		t.Errorf("an unknown role: %v", err)
	}
}

const goodInvite = `{"format":1,"chain":"lab","private":true,"rpcs":["http://10.0.0.1:26657"],
	"bootstrap":[{"key":"0101010101010101010101010101010101010101010101010101010101010101","addrs":["/ip4/10.0.0.1/tcp/26650"]}]}`

func TestInvite(t *testing.T) {
	t.Parallel()
	v, err := DecodeInvite([]byte(goodInvite))
	if err != nil {
		t.Fatal(err)
	}
	b, err := v.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if w, err := DecodeInvite(b); err != nil || !reflect.DeepEqual(v, w) {
		t.Errorf("%+v became %+v, %v", v, w, err)
	}
	for what, change := range map[string][2]string{
		"another format": {`"format":1`, `"format":2`}, "no chain": {`"lab"`, `"../x"`}, "no URL": {`http://10.0.0.1:26657`, `ftp://x`},
		"half a trusted header": {`"format":1`, `"format":1,"trust_height":5`}, "a short faucet": {`"format":1`, `"format":1,"faucet":"aa"`},
		"no nodes": {`"http://10.0.0.1:26657"`, ``}, "slow blocks": {`"format":1`, `"format":1,"block_millis":99999999`},
		"a public faucet": {`"private":true`, `"faucet":"` + strings.Repeat("ab", 32) + `"`},
	} {
		if _, err := DecodeInvite([]byte(strings.Replace(goodInvite, change[0], change[1], 1))); !errors.Is(err, ErrInvite) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// FuzzInvite holds that an invite that is taken can be written and taken again.
func FuzzInvite(f *testing.F) {
	f.Add([]byte(goodInvite))
	f.Add([]byte(`{"format":1}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := DecodeInvite(b)
		if err != nil {
			return
		}
		b, err = v.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodeInvite(b); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if v.Network().RPC == "" {
			t.Fatal("a network without a node")
		}
	})
}

func TestBackup(t *testing.T) {
	t.Parallel()
	h, err := Create(t.TempDir()+"/a", Info{Kind: Member, Chain: "c", Key: "alice", Private: true, Roles: []string{RoleValidator}})
	if err != nil {
		t.Fatal(err)
	}
	k, err := NewKey("alice")
	if err != nil {
		t.Fatal(err)
	}
	peer, perr := h.SeedKey("peer.key")
	if err := errors.Join(perr, h.SaveKey(k, ""), os.MkdirAll(h.Path("chain", "config"), 0o700),
		os.WriteFile(h.Path("chain", "config", "priv_validator_key.json"), []byte("{}"), 0o600)); err != nil {
		t.Fatal(err)
	}
	b, err := h.Backup(time.Unix(1, 0))
	if err != nil {
		t.Fatal(err)
	}
	text, err := b.Seal("pass")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text, "secret") || !strings.Contains(text, "AGE ENCRYPTED FILE") {
		t.Error("the backup is not encrypted")
	}
	if _, err := OpenBackup(text, "other"); !errors.Is(err, ErrPassphrase) {
		t.Errorf("another passphrase: %v", err)
	}
	if b, err = OpenBackup(text, "pass"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir() + "/b"
	n, err := b.Restore(dir)
	if err != nil {
		t.Fatal(err)
	}
	got, err := n.LoadKey("alice", nil)
	if err != nil || got.Address != k.Address {
		t.Errorf("restored %v, %v", got, err)
	}
	if p, err := n.SeedKey("peer.key"); err != nil || p.Public() != peer.Public() {
		t.Errorf("restored peer %s, %v", p.Public(), err)
	}
	if _, err := os.Stat(n.Path("chain", "data", "restored")); err != nil {
		t.Errorf("the validator does not know that it was restored: %v", err)
	}
	if _, err := b.Restore(dir); !errors.Is(err, ErrExists) {
		t.Errorf("restored over a home: %v", err)
	}
	b.Files["../../evil"] = []byte("x")
	if text, err = b.Seal("pass"); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenBackup(text, "pass"); !errors.Is(err, ErrBackup) {
		t.Errorf("a path out of the home: %v", err)
	}
}

func TestUnreadable(t *testing.T) {
	t.Parallel()
	if err := unreadable("keys/a.json", os.ErrPermission); !errors.Is(err, ErrUnreadable) || !strings.Contains(err.Error(), "keys/a.json") {
		t.Errorf("%v", err)
	}
	if err := unreadable("keys/a.json", os.ErrNotExist); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
