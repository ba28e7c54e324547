package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// summary is the last line of map --json.
type summary struct {
	Job      string
	Items    uint64
	Verified uint64
	Failed   uint64
	Reused   uint64
	Paid     string
	Refunded string
}

// lastLine decodes the last line of stdout.
func lastLine(t testing.TB, p *process, v any) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(p.out.String()), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), v); err != nil {
		t.Fatalf("%s: last line of stdout: %v\n%s\n%s", p.commandLine, err, p.out.String(), p.errw.String())
	}
}

// folder is a user's folder: the program, and in/ with some texts.
func folder(t testing.TB, texts ...string) string {
	t.Helper()
	dir := t.TempDir()
	write(t, filepath.Join(dir, "work.wasm"), string(mustProgram(t)))
	for i, s := range texts {
		write(t, filepath.Join(dir, "in", fmt.Sprintf("t%d.txt", i)), s)
	}
	return dir
}

func holds(t testing.TB, path, want string) {
	t.Helper()
	if b, err := os.ReadFile(path); err != nil || string(b) != want {
		t.Errorf("%s holds %q (%v), want %q", path, b, err, want)
	}
}

// gone holds that a file does not exist.
func gone(t testing.TB, path string) {
	t.Helper()
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("%s exists (%v)", path, err)
	}
}

// TestMap is a user's first own job: outputs are written, the same command again
// computes and pays nothing, and one more input costs one more item.
func TestMap(t *testing.T) {
	t.Parallel()
	n := sharedNetwork(t)
	dir := folder(t, "first map", "second map")
	args := []string{"map", "--home", n.dir, "--json", "--each", "in/*.txt", "--out", "out/{stem}.up", "--", "work.wasm", "upper", "{in}", "{out}"}

	var s summary
	lastLine(t, run(t, dir, 0, args...), &s)
	if s.Job == "" || s.Items != 2 || s.Verified != 2 || s.Failed != 0 || s.Reused != 0 || s.Paid == "0" {
		t.Errorf("first run: %+v", s)
	}
	holds(t, filepath.Join(dir, "out", "t0.up"), "FIRST MAP")
	holds(t, filepath.Join(dir, "out", "t1.up"), "SECOND MAP")

	lastLine(t, run(t, dir, 0, args...), &s)
	if s.Job != "" || s.Verified != 2 || s.Reused != 2 || s.Paid != "0" {
		t.Errorf("the same again: %+v", s)
	}

	write(t, filepath.Join(dir, "in", "t2.txt"), "third map")
	if err := os.Remove(filepath.Join(dir, "out", "t0.up")); err != nil {
		t.Fatal(err)
	}
	lastLine(t, run(t, dir, 0, args...), &s)
	if s.Items != 3 || s.Verified != 3 || s.Reused != 2 {
		t.Errorf("with one more input: %+v", s)
	}
	holds(t, filepath.Join(dir, "out", "t0.up"), "FIRST MAP")
	holds(t, filepath.Join(dir, "out", "t2.up"), "THIRD MAP")
}

// TestDetach posts a job without waiting for it and comes back for it later.
func TestDetach(t *testing.T) {
	t.Parallel()
	n := sharedNetwork(t)
	dir := folder(t, "first detached", "second detached")
	p := run(t, dir, 0, "map", "--home", n.dir, "--detach", "--json", "--each", "in/*.txt", "--out", "out/{stem}.up", "--", "work.wasm", "upper", "{in}", "{out}")
	var s summary
	lastLine(t, p, &s)
	if s.Job == "" {
		t.Fatalf("no job id: %s", p.out.String())
	}
	if jobs := run(t, dir, 0, "jobs", "--home", n.dir, "--json"); !strings.Contains(jobs.out.String(), s.Job) {
		t.Errorf("jobs does not list %s:\n%s", s.Job, jobs.out.String())
	}
	if job := run(t, dir, 0, "job", s.Job[:12], "--home", n.dir, "--json"); !strings.Contains(job.out.String(), s.Job) {
		t.Errorf("job does not tell of %s:\n%s", s.Job, job.out.String())
	}
	run(t, dir, 0, "watch", s.Job[:12], "--home", n.dir)
	run(t, dir, 0, "get", s.Job[:12], "--home", n.dir, "--out", "elsewhere")
	holds(t, filepath.Join(dir, "elsewhere", "t0.up"), "FIRST DETACHED")
	holds(t, filepath.Join(dir, "elsewhere", "t1.up"), "SECOND DETACHED")
}

// TestItemFails holds that a program's own failure is a verified result, is told, and
// leaves no output.
func TestItemFails(t *testing.T) {
	t.Parallel()
	n := sharedNetwork(t)
	dir := folder(t, "this works", "exit 7 it says")
	p := run(t, dir, 3, "map", "--home", n.dir, "--json", "--each", "in/*.txt", "--out", "out/{stem}.up", "--", "work.wasm", "upper", "{in}", "{out}")
	var s summary
	lastLine(t, p, &s)
	if s.Items != 2 || s.Verified != 1 || s.Failed != 1 {
		t.Errorf("%+v", s)
	}
	if text := p.errw.String(); !strings.Contains(text, "item 1") || !strings.Contains(text, "exit 7") {
		t.Errorf("the message does not name the item and its exit code:\n%s", text)
	}
	holds(t, filepath.Join(dir, "out", "t0.up"), "THIS WORKS")
	gone(t, filepath.Join(dir, "out", "t1.up"))
}

// TestInterrupt holds that Ctrl-C ends the command and not the job.
func TestInterrupt(t *testing.T) {
	t.Parallel()
	n := sharedNetwork(t)
	dir := folder(t, "a slow one", "another slow one", "and one more")
	p := start(t, dir, "map", "--home", n.dir, "--each", "in/*.txt", "--out", "out/{stem}.up", "--", "work.wasm", "upperslow", "{in}", "{out}")
	for end := time.Now().Add(patience); !strings.Contains(p.errw.String(), "of 3 done"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no progress in %s:\n%s", patience, p.errw.String())
		}
		select {
		case <-p.done:
			t.Fatalf("the job was over before it could be interrupted: exit code %d\n%s", p.code, p.errw.String())
		default:
		}
	}
	if code := p.stop(t, sigint); code != 130 {
		t.Errorf("exit code %d, want 130\n%s", code, p.errw.String())
	}
	id := regexp.MustCompile(`[0-9a-f]{64}`).FindString(p.errw.String())
	if id == "" {
		t.Fatalf("no job id is told:\n%s", p.errw.String())
	}
	run(t, dir, 0, "watch", id, "--home", n.dir)
	run(t, dir, 0, "get", id, "--home", n.dir)
	holds(t, filepath.Join(dir, "out", "t0.up"), "A SLOW ONE")
	holds(t, filepath.Join(dir, "out", "t2.up"), "AND ONE MORE")
}

// TestBadInput holds that what cannot work is refused with exit code 2, or the code
// of its kind, one clear message, and nothing spent.
func TestBadInput(t *testing.T) {
	t.Parallel()
	n := sharedNetwork(t)
	dir := folder(t, "bad input 1", "bad input 2")
	write(t, filepath.Join(dir, "text.wasm"), "this is text")
	unknown := strings.Repeat("0", 64)
	for _, c := range []struct {
		name string
		code int
		says string
		args []string
	}{
		{"unknown job", 2, unknown[:12], []string{"job", unknown}},
		{"get of an unknown job", 2, unknown[:12], []string{"get", unknown}},
		{"no file matches", 2, "nothing/*", []string{"map", "--each", "nothing/*", "--", "work.wasm"}},
		{"no such program", 2, "absent.wasm", []string{"map", "--range", "1-2", "--", "absent.wasm"}},
		{"not a module", 2, "text.wasm", []string{"map", "--range", "1-2", "--", "text.wasm"}},
		{"two items, one output", 2, "same", []string{"map", "--each", "in/*.txt", "--out", "out/same", "--", "work.wasm", "upper", "{in}", "{out}"}},
		{"output in a folder that escapes", 2, "{line}", []string{"map", "--each-line", "lines", "--out", "out/{line}", "--", "work.wasm", "upper", "{line}", "{out}"}},
		{"price under the floor", 4, "price", []string{"map", "--range", "1-2", "--max-price", "1ugtg", "--", "work.wasm", "sum", "{i}", "1", "work.wasm"}},
		{"no such tier", 2, "tier", []string{"map", "--range", "1-2", "--tier", "some", "--", "work.wasm"}},
		{"unknown flag", 2, "--nonsense", []string{"map", "--nonsense"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			write(t, filepath.Join(dir, "lines"), "../../escaped\n")
			p := run(t, dir, c.code, append([]string{c.args[0], "--home", n.dir}, c.args[1:]...)...)
			says(t, p, c.says)
		})
	}
}

// TestMapThroughKill9 holds that a waiting `map` outlives the network that it waits
// for: killed in the middle of the job and started again, it ends the job as usual.
func TestMapThroughKill9(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, 2)
	n.ready(t.Context(), t)
	dir := folder(t, "killed once", "killed twice", "killed for good", "and yet it runs")
	p := start(t, dir, "map", "--home", n.dir, "--json", "--each", "in/*.txt", "--out", "out/{stem}.up", "--", "work.wasm", "upperslow", "{in}", "{out}")
	n.until(t.Context(), t, func() string { return "no progress: " + p.errw.String() }, func() bool {
		return strings.Contains(p.errw.String(), "of 4 done")
	})
	n.up.kill()
	n.start(t)
	if code := p.wait(t); code != 0 {
		t.Fatalf("exit code %d\n%s\n%s", code, p.errw.String(), n.logTail())
	}
	var s summary
	lastLine(t, p, &s)
	if s.Items != 4 || s.Verified != 4 || s.Failed != 0 {
		t.Errorf("%+v", s)
	}
	holds(t, filepath.Join(dir, "out", "t0.up"), "KILLED ONCE")
	holds(t, filepath.Join(dir, "out", "t3.up"), "AND YET IT RUNS")
}
