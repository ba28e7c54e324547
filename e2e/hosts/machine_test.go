package hosts

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gotong-network/gotong/internal/netlab"
)

// machine is a host with a home on it, and with the process that runs the home, if one
// does.
type machine struct {
	*netlab.Host
	role string // validator, indexer, checker, provider or client
	home string
	log  string // file of what all that ran the home said; LOG.commands has the rest

	mu   sync.Mutex // guards proc
	proc *process   // of `gotong start`; nil before the first
}

// process is one process of gotong on a machine.
type process struct {
	cmd  *netlab.Cmd
	out  bytes.Buffer // read it once done
	log  string
	from int64         // where in the log its words begin
	done chan struct{} // closed when it has ended
	code int           // then: its exit code, -1 if a signal ended it
}

// launch starts gotong on the machine with its home, by another program if one is given.
func (m *machine) launch(ctx context.Context, by []string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	file := m.log
	if args[0] != "start" {
		file += ".commands"
	}
	log, err := os.OpenFile(file, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }() // the process has its own
	fmt.Fprintf(log, "---- %s gotong %s\n", time.Now().Format("15:04:05.000"), strings.Join(args, " "))
	from, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	line := slices.Concat(by, []string{self, "--home", m.home}, args)
	p := &process{cmd: m.Command(ctx, line[0], line[1:]...), log: file, from: from, done: make(chan struct{})}
	p.cmd.Dir, p.cmd.Env = filepath.Dir(m.home), append(os.Environ(), asGotong+"=1")
	p.cmd.Stdout, p.cmd.Stderr = &p.out, log
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	go func() {
		_ = p.cmd.Wait() // the state says it
		p.code = p.cmd.ProcessState.ExitCode()
		close(p.done)
	}()
	return p, nil
}

// kill is kill -9; it returns when the process is gone.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // gone already is as good
	<-p.done
}

// said is what the process said so far on stderr.
func (p *process) said() string {
	f, err := os.Open(p.log)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = f.Close() }() // only read
	b, err := io.ReadAll(io.NewSectionReader(f, p.from, 64<<20))
	if err != nil {
		return err.Error()
	}
	text, _, _ := strings.Cut(string(b), "\n---- ") // up to the next one's
	return text
}

// ended waits for the end and gives the exit code.
func (p *process) ended(t *testing.T, patience time.Duration) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("%s still runs after %s\n%s", strings.Join(p.cmd.Args[1:], " "), patience, tail(p.said()))
	}
	return p.code
}

// start runs the machine's home; it is no fault if it runs already.
func (m *machine) start(t *testing.T) {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.proc != nil {
		select {
		case <-m.proc.done:
		default:
			return
		}
	}
	p, err := m.launch(context.Background(), nil, "start")
	if err != nil {
		t.Fatalf("start %s: %v", m.Name(), err)
	}
	m.proc = p
}

// running gives the process of the home; nil if there is none.
func (m *machine) running() *process {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.proc
}

// kill kills the process of the home with -9.
func (m *machine) kill() {
	if p := m.running(); p != nil {
		p.kill()
	}
}

// errEnded means that the process of a home is gone.
var errEnded = errors.New("ended")

// exitUnreachable is gotong's exit code when the network does not answer.
const exitUnreachable = 5

// supervise does what a machine's own supervisor does: a home that gave up since the
// network did not answer is started again, as its unit says; another end is not mended.
func (m *machine) supervise(t *testing.T) error {
	t.Helper()
	err := m.ready()
	if p := m.running(); errors.Is(err, errEnded) {
		if p.code != exitUnreachable {
			t.Fatal(err)
		}
		m.start(t)
	}
	return err
}

// ready reports why the home does not play its roles yet; nil if it does.
func (m *machine) ready() error {
	p := m.running()
	if p == nil {
		return fmt.Errorf("%s was not started", m.Name())
	}
	select {
	case <-p.done:
		return fmt.Errorf("%s %w with %d: %s", m.Name(), errEnded, p.code, tail(p.said()))
	default:
	}
	if !strings.Contains(p.said(), "Running at height") {
		return fmt.Errorf("%s is not running yet: %s", m.Name(), lastLine(p.said()))
	}
	return nil
}

// run runs a command to its end and gives its stdout; another exit code than want fails
// the test.
func (m *machine) run(t *testing.T, want int, args ...string) string {
	t.Helper()
	p, err := m.launch(t.Context(), nil, args...)
	if err != nil {
		t.Fatal(err)
	}
	if code := p.ended(t, 5*time.Minute); code != want {
		t.Fatalf("on %s: gotong %s: exit code %d, want %d\n%s\n%s", m.Name(), strings.Join(args, " "), code, want, p.out.String(), tail(p.said()))
	}
	return p.out.String()
}

// ask runs a command that prints JSON; an error says what it said.
func (m *machine) ask(ctx context.Context, into any, args ...string) error {
	p, err := m.launch(ctx, nil, args...)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-time.After(time.Minute):
		p.kill()
		return fmt.Errorf("gotong %s: no answer in a minute", strings.Join(args, " "))
	}
	if err := json.Unmarshal(p.out.Bytes(), into); err != nil {
		return fmt.Errorf("gotong %s: exit code %d: %s", strings.Join(args, " "), p.code, lastLine(p.said()))
	}
	return nil
}

func tail(s string) string { return s[max(0, len(s)-4000):] }

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
