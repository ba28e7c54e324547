package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gotong-network/gotong/internal/version"
)

// TestHomeInUse holds that a second network on a home is refused and does not
// disturb the first.
func TestHomeInUse(t *testing.T) {
	t.Parallel()
	n := sharedNetwork(t)
	p := run(t, t.TempDir(), 6, "up", "--home", n.dir)
	says(t, p, "in use", n.dir)
	run(t, t.TempDir(), 0, "network", "status", "--home", n.dir)
}

// TestPortTaken holds that a taken RPC address is the user's to change, and that the
// home can be used afterwards.
func TestPortTaken(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	dir := filepath.Join(t.TempDir(), "home")
	p := run(t, t.TempDir(), 2, "up", "--home", dir, "--rpc", l.Addr().String())
	says(t, p, l.Addr().String(), "taken", "--rpc")
	n := &network{dir: dir, providers: 1, args: []string{"up", "--home", dir, "--providers", "1"}}
	n.start(t)
	n.ready(t.Context(), t)
	if code := n.up.stop(t, sigterm); code != 0 {
		t.Errorf("SIGTERM: exit code %d\n%s", code, n.up.errw.String())
	}
}

// TestBadHome holds that what cannot be read, or is not ours to read, is told apart
// from what is absent, and is left alone.
func TestBadHome(t *testing.T) {
	t.Parallel()
	good := func(format int, kind string) string {
		return fmt.Sprintf(`{"format":%d,"kind":%q,"chain":"gotong-local","key":"default"}`, format, kind)
	}
	for _, c := range []struct{ name, file, content, says string }{
		{"damaged", "home.json", `{"format":1,"ki`, "damaged"},
		{"empty", "home.json", ``, "damaged"},
		{"other format", "home.json", good(version.HomeFormat+1, "local"), "format"},
		{"no count of members", "local.json", `{"providers":`, "damaged"},
		{"damaged key", "keys/default.json", `{`, "damaged"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "home")
			write(t, filepath.Join(dir, "home.json"), good(version.HomeFormat, "local"))
			bad := filepath.Join(dir, c.file)
			write(t, bad, c.content)
			p := run(t, t.TempDir(), 6, "up", "--home", dir)
			says(t, p, c.says, dir)
			if b, err := os.ReadFile(bad); err != nil || string(b) != c.content {
				t.Errorf("%s was changed to %q (%v)", bad, b, err)
			}
		})
	}
}

// TestNoNetwork holds that asking a home without a running network is exit code 5,
// with the command that starts one.
func TestNoNetwork(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "home")
	says(t, run(t, t.TempDir(), 5, "network", "status", "--home", dir), "gotong up")
}

func write(t testing.TB, path, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// says holds that the error has one clear line with all of the words.
func says(t testing.TB, p *process, words ...string) {
	t.Helper()
	text := p.errw.String()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("%s: the message does not say %q:\n%s", p.commandLine, w, text)
		}
	}
	if n := strings.Count(text, "gotong: "); n != 1 {
		t.Errorf("%s: want one message, got %d:\n%s", p.commandLine, n, text)
	}
	if strings.Contains(text, "goroutine ") {
		t.Errorf("%s: a stack trace:\n%s", p.commandLine, text)
	}
}
