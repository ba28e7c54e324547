package house

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/gotong-network/gotong/"

// allowed says which packages of this module each room may import, by longest
// matching prefix; ARCHITECTURE.md explains the arrows. A room that is missing
// here fails the test: decide its arrows first.
var allowed = []struct {
	room    string
	imports []string
}{
	{"sign", nil},
	{"work", []string{"sign"}},
	{"incentive", []string{"work"}},
	{"lifecycle", []string{"work", "sign", "incentive"}},
	{"match", []string{"work", "sign"}},
	{"gw1", nil},
	{"x/", []string{"work", "sign", "lifecycle", "incentive", "x/"}},
	{"app", []string{"work", "sign", "lifecycle", "incentive", "x/"}},
	{"app/apptest", []string{"work", "lifecycle", "x/", "app"}},

	{"internal/iso3166", nil},
	{"internal/disk", nil},
	{"internal/inventory", []string{"work", "internal/disk"}},
	{"internal/metrics", []string{"work", "lifecycle", "internal/wire", "internal/p2p", "internal/blob", "internal/runtime", "internal/ledger"}},

	// Ports.
	{"internal/ledger", []string{"work", "sign", "lifecycle"}},
	{"internal/runtime", []string{"work"}},
	{"internal/p2p", []string{"sign"}},
	{"internal/wire", []string{"work", "sign", "internal/p2p"}},
	// Adapters: their port, and what they adapt.
	{"internal/ledger/ledgertest", []string{"work", "sign", "lifecycle", "incentive", "internal/ledger"}},
	{"internal/ledger/fake", []string{"work", "sign", "lifecycle", "incentive", "internal/ledger"}},
	{"internal/ledger/sdkwire", nil}, // messages of the SDK's modules, without the modules
	{"internal/ledger/cosmos", []string{"work", "sign", "lifecycle", "x/", "internal/ledger", "internal/ledger/sdkwire"}},
	{"internal/ledger/light", []string{"work", "sign", "lifecycle", "x/", "internal/ledger", "internal/ledger/cosmos", "internal/ledger/sdkwire"}},   // the same ledger over nodes that are not trusted
	{"internal/ledger/keepers", []string{"work", "sign", "lifecycle", "x/", "internal/ledger", "internal/ledger/cosmos", "internal/ledger/sdkwire"}}, // the chain's messages are ledger/cosmos's
	{"internal/chainnode", []string{"work", "sign", "lifecycle", "x/", "app"}},
	{"internal/runtime/runtimetest", []string{"work", "internal/runtime", "internal/blob"}},
	{"internal/runtime/wasm", []string{"work", "gw1", "internal/runtime", "internal/blob"}},
	{"internal/runtime/noop", []string{"work", "internal/runtime"}},
	{"internal/p2p/", []string{"sign", "internal/p2p"}},
	{"internal/blob", []string{"work", "sign", "internal/p2p", "internal/runtime", "internal/disk"}},
	// Roles: pure rooms and ports; never an adapter, never each other.
	{"internal/execute", []string{"work", "sign", "lifecycle", "internal/wire", "internal/p2p", "internal/blob", "internal/runtime", "internal/ledger"}},
	{"internal/provider", []string{"work", "sign", "lifecycle", "incentive", "match", "internal/wire", "internal/p2p", "internal/blob", "internal/runtime", "internal/ledger", "internal/execute"}},
	{"internal/checker", []string{"work", "sign", "lifecycle", "incentive", "internal/p2p", "internal/blob", "internal/runtime", "internal/ledger", "internal/execute"}},
	{"internal/referee", []string{"work", "sign", "lifecycle", "internal/wire", "internal/p2p", "internal/blob", "internal/runtime", "internal/ledger", "internal/execute"}},
	{"internal/indexer", []string{"work", "sign", "lifecycle", "incentive", "match", "internal/wire", "internal/p2p", "internal/blob", "internal/ledger"}},
	{"internal/client", []string{"work", "sign", "lifecycle", "incentive", "match", "internal/wire", "internal/p2p", "internal/blob", "internal/runtime", "internal/ledger"}},
	{"internal/limits", nil},
	{"internal/limits/host", []string{"internal/limits"}},
	{"internal/sim", []string{"work", "incentive", "lifecycle", "match"}},
	{"internal/adversary", []string{"work", "sign", "lifecycle", "internal/wire", "internal/p2p", "internal/runtime", "internal/ledger"}},
	{"internal/adversary/trial", []string{"*"}}, // whole worlds
	// Whole programs.
	{"internal/version", nil},
	{"internal/home", []string{"work", "sign", "internal/p2p", "internal/version"}},
	{"internal/demoscene", nil},
	{"internal/node", []string{"*"}},
	{"internal/member", []string{"work", "sign", "lifecycle", "internal/"}},
	{"internal/membercmd", []string{"work", "sign", "lifecycle", "internal/"}},
	{"internal/localnet", []string{"*"}},
	{"internal/cli", []string{"*"}},
	{"internal/house", nil},
	{"internal/netlab", nil},
	{"cmd/", []string{"internal/"}},
	{"examples/", nil},
	{"bench", []string{"*"}},
	{"e2e", []string{"*"}},
}

// importers of these rooms are named one by one: they link the whole chain.
var only = map[string][]string{
	"app":                    {"app/apptest", "internal/chainnode", "internal/localnet", "internal/cli"},
	"internal/chainnode":     {"internal/node", "internal/localnet", "internal/cli", "bench", "e2e", "internal/ledger/cosmos"},
	"internal/adversary":     {"internal/localnet", "internal/cli", "bench", "e2e"},
	"internal/cli":           {"cmd/"},
	"internal/runtime/noop":  {"bench"},
	"internal/ledger/fake":   {"internal/sim", "internal/adversary/trial"},
	"internal/netlab":        {"e2e", "bench"},
	"internal/p2p/mem":       {"internal/sim"},
	"internal/localnet":      {"internal/cli", "bench", "e2e"},
	"internal/demoscene":     {"internal/cli", "internal/localnet", "bench", "e2e"},
	"internal/runtime/wasm":  {"cmd/gotong", "cmd/gotong-worker", "internal/node", "internal/member", "internal/localnet", "internal/cli", "bench", "e2e"},
	"internal/p2p/libp2p":    {"internal/node", "internal/localnet", "internal/cli", "internal/client", "bench", "e2e"},
	"internal/ledger/cosmos": {"internal/ledger/keepers", "internal/ledger/light", "internal/node", "internal/member", "internal/localnet", "internal/cli", "bench", "e2e"},
}

type pkg struct {
	dir   string
	files []*ast.File
	tests []*ast.File
	names []string // file names, by files
}

// TestImports holds the arrows of the house. Test files may reach further: they
// put rooms together.
func TestImports(t *testing.T) {
	for _, p := range load(t) {
		ok, found := rule(p.dir)
		if !found {
			t.Errorf("%s: no rule for this room in internal/house: decide what it may import", p.dir)
			continue
		}
		for _, f := range p.files {
			for _, im := range f.Imports {
				path, ours := strings.CutPrefix(strings.Trim(im.Path.Value, `"`), module)
				if !ours || within(p.dir, path) {
					continue
				}
				if !permits(ok, path) {
					t.Errorf("%s imports %s: this arrow is not allowed", p.dir, path)
				}
				for room, by := range only {
					if path == room && !slices.ContainsFunc(by, func(b string) bool { return within(p.dir, strings.TrimSuffix(b, "/")) }) {
						t.Errorf("%s imports %s: only %v may", p.dir, path, by)
					}
				}
			}
		}
	}
}

// TestGw1IsALibrary keeps package gw1 usable by anyone: a few packages of the
// standard library, no engine, no clock, no files, no network.
func TestGw1IsALibrary(t *testing.T) {
	pure := []string{"bytes", "cmp", "encoding/binary", "errors", "fmt", "io", "math", "math/bits", "math/rand/v2", "slices", "strconv", "strings", "unicode/utf8"}
	found := false
	for _, p := range load(t) {
		if p.dir != "gw1" {
			continue
		}
		found = true
		for i, f := range p.files {
			for _, im := range f.Imports {
				if path := strings.Trim(im.Path.Value, `"`); !slices.Contains(pure, path) {
					t.Errorf("gw1/%s imports %s", p.names[i], path)
				}
			}
		}
	}
	if !found {
		t.Error("package gw1 was not found")
	}
}

// TestPackageComments demands that every package says what it owns.
func TestPackageComments(t *testing.T) {
	for _, p := range load(t) {
		if len(p.files) == 0 {
			continue
		}
		words := 0
		for _, f := range p.files {
			if f.Doc != nil {
				words = max(words, len(strings.Fields(f.Doc.Text())))
			}
		}
		if words < 12 {
			t.Errorf("%s: the package comment has %d words: say what it owns, promises and never does", p.dir, words)
		}
	}
}

// TestConsensusIsDeterministic keeps clocks, randomness, floats and I/O out of
// state transitions.
func TestConsensusIsDeterministic(t *testing.T) {
	banned := []string{"math/rand", "math/rand/v2", "crypto/rand", "net", "net/http", "os", "os/exec", "sync", "runtime"}
	for _, p := range load(t) {
		if !strings.HasPrefix(p.dir, "x/") && p.dir != "lifecycle" && p.dir != "incentive" && p.dir != "work" {
			continue
		}
		for i, f := range p.files {
			if strings.Contains(p.names[i], ".pb.") {
				continue
			}
			for _, im := range f.Imports {
				if path := strings.Trim(im.Path.Value, `"`); slices.Contains(banned, path) {
					t.Errorf("%s/%s imports %s", p.dir, p.names[i], path)
				}
			}
			ast.Inspect(f, func(n ast.Node) bool {
				switch n := n.(type) {
				case *ast.SelectorExpr:
					if x, ok := n.X.(*ast.Ident); ok && x.Name == "time" && slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After"}, n.Sel.Name) {
						t.Errorf("%s/%s uses time.%s", p.dir, p.names[i], n.Sel.Name)
					}
				case *ast.Ident:
					if n.Name == "float64" || n.Name == "float32" {
						t.Errorf("%s/%s uses %s", p.dir, p.names[i], n.Name)
					}
				case *ast.GoStmt:
					t.Errorf("%s/%s starts a goroutine", p.dir, p.names[i])
				}
				return true
			})
		}
	}
}

func rule(dir string) (imports []string, found bool) {
	best := -1
	for _, a := range allowed {
		if within(dir, strings.TrimSuffix(a.room, "/")) && len(a.room) > best {
			imports, best, found = a.imports, len(a.room), true
		}
	}
	return imports, found
}

func permits(rooms []string, path string) bool {
	for _, r := range rooms {
		if r == "*" || r == path || strings.HasSuffix(r, "/") && strings.HasPrefix(path, r) {
			return true
		}
	}
	return false
}

// within reports whether path is room or below it.
func within(path, room string) bool { return path == room || strings.HasPrefix(path, room+"/") }

func load(t *testing.T) []*pkg {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	byDir := map[string]*pkg{}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); path != root && (strings.HasPrefix(n, ".") || n == "testdata" || n == "tools" || n == "dist") {
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, src, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		p := byDir[rel]
		if p == nil {
			p = &pkg{dir: filepath.ToSlash(rel)}
			byDir[rel] = p
		}
		if strings.HasSuffix(path, "_test.go") {
			p.tests = append(p.tests, f)
		} else {
			p.files, p.names = append(p.files, f), append(p.names, filepath.Base(path))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	out := make([]*pkg, 0, len(byDir))
	for _, p := range byDir {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *pkg) int { return strings.Compare(a.dir, b.dir) })
	return out
}
