package chainnode

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// databasesOf are the databases of a node that has run.
var databasesOf = []string{"application.db", "blockstore.db", "state.db", "evidence.db"}

// A node that is killed while it creates its databases starts all the same.
func TestACreationThatWasCutShort(t *testing.T) {
	for _, left := range []map[string]string{
		{"LOCK": "", "LOG": "x"},
		{"LOCK": "", "MANIFEST-000000": ""},
		{"LOCK": "", "MANIFEST-000000": "half a rec"},
		{"LOCK": "", "MANIFEST-000000": "half a rec", "CURRENT.0": ""},
		{"LOCK": "", "MANIFEST-000000": "half a rec", "CURRENT.0": "MANIF"},
	} {
		home := initHome(t)
		for _, db := range databasesOf {
			dir := filepath.Join(home, "data", db)
			if err := os.MkdirAll(dir, 0o700); err != nil {
				t.Fatal(err)
			}
			for name, content := range left {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
					t.Fatal(err)
				}
			}
		}
		n := start(t, home)
		await(t, n, 2)
		if err := n.Stop(); err != nil {
			t.Error(err)
		}
	}
}

// A database that holds something and has lost its CURRENT is not thrown away.
func TestADatabaseWithoutCurrentIsKept(t *testing.T) {
	home := initHome(t)
	n := start(t, home)
	await(t, n, 3)
	if err := n.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"CURRENT", "CURRENT.bak"} {
		if err := os.Remove(filepath.Join(home, "data", "blockstore.db", name)); err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
	}
	before := files(t, filepath.Join(home, "data", "blockstore.db"))
	n, err := Open(home, Config{})
	if err == nil {
		n.Stop()
		t.Fatal("it was opened")
	}
	if !strings.Contains(err.Error(), "corrupted") {
		t.Errorf("it says %v", err)
	}
	for name := range before {
		if _, err := os.Stat(filepath.Join(home, "data", "blockstore.db", name)); err != nil {
			t.Error(err)
		}
	}
}

// files are the tables, journals and manifests of a database.
func files(t *testing.T, dir string) map[string]bool {
	t.Helper()
	all, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, e := range all {
		if strings.HasPrefix(e.Name(), "MANIFEST") || strings.HasSuffix(e.Name(), ".ldb") || strings.HasSuffix(e.Name(), ".log") {
			out[e.Name()] = true
		}
	}
	if len(out) == 0 {
		t.Fatal("no database")
	}
	return out
}
