package light

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	rpctypes "github.com/cometbft/cometbft/rpc/jsonrpc/types"

	"github.com/gotong-network/gotong/internal/ledger"
)

// State is what is thought of a node.
type State string

// The states of a node.
const (
	Good    State = "ok"
	Lying   State = "lying"   // what it said was proved wrong
	Lagging State = "lagging" // others are far ahead of it
	Dead    State = "dead"    // no answer
)

// NodeStatus is a node as this client sees it.
type NodeStatus struct {
	URL       string `json:"url"`
	State     State  `json:"state"`
	Why       string `json:"why,omitempty"` // if it is not ok
	Height    int64  `json:"height"`        // the newest it told
	LagBlocks int64  `json:"lag_blocks"`    // behind the newest that was verified
}

// How long a node is left alone, doubled each time up to the second value.
const (
	lyingFor, lyingMost = time.Hour, 24 * time.Hour
	awayFor, awayMost   = time.Second, 30 * time.Second // lagging and dead ones
)

// A lie is an answer that was proved wrong: nobody honest gives it.
type lie struct{ err error }

func (l *lie) Error() string { return l.err.Error() }
func (l *lie) Unwrap() error { return l.err }

func lied(format string, args ...any) error { return &lie{fmt.Errorf(format, args...)} }

// errBehind is the answer of a node that does not have a height yet; errLag that of
// one that is far behind.
var (
	errBehind = errors.New("the node does not have this height yet")
	errLag    = errors.New("the node lags behind")
)

// pool is the nodes, in the order in which they are asked: the first good one answers
// everything, one that is left goes to the end.
type pool struct {
	log *slog.Logger
	now func() time.Time

	mu    sync.Mutex // guards nodes, and what is thought of each
	nodes []*node
}

// try asks nodes in turn until one answers well, and judges those that do not.
func (p *pool) try(ctx context.Context, ask func(context.Context, *node) error) error {
	var errs []error
	pruned := false
	for _, n := range p.candidates() {
		call, cancel := context.WithTimeout(ctx, callTimeout)
		err := ask(call, n)
		cancel()
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.judge(n, err)
		if err == nil {
			return nil
		}
		var final *finalError
		if errors.As(err, &final) {
			return final.err
		}
		pruned = pruned || errors.Is(err, ledger.ErrPruned)
		errs = append(errs, fmt.Errorf("%s: %w", n.url, err))
	}
	if pruned {
		return fmt.Errorf("%w: no node has it", ledger.ErrPruned)
	}
	if len(errs) == 0 {
		return fmt.Errorf("%w: no node is left that can be asked: %s", ledger.ErrUnreachable, p.reasons())
	}
	return fmt.Errorf("%w: %w", ledger.ErrUnreachable, errors.Join(errs...))
}

// finalError ends the asking: another node would not help.
type finalError struct{ err error }

func (f *finalError) Error() string { return f.err.Error() }
func (f *finalError) Unwrap() error { return f.err }

// candidates are the good nodes and, if there is none, those whose time has come.
func (p *pool) candidates() []*node {
	p.mu.Lock()
	defer p.mu.Unlock()
	var good, due []*node
	for _, n := range p.nodes {
		switch {
		case n.state == Good:
			good = append(good, n)
		case !p.now().Before(n.until):
			due = append(due, n)
		}
	}
	if len(good) > 0 {
		return good
	}
	return due
}

// others are the nodes beside one that may be asked: good ones, and those whose time
// has come.
func (p *pool) others(than *node) (l []*node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.nodes {
		if n != than && (n.state == Good || !p.now().Before(n.until)) {
			l = append(l, n)
		}
	}
	return l
}

// good are the nodes nothing is wrong with.
func (p *pool) good() (l []*node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.nodes {
		if n.state == Good {
			l = append(l, n)
		}
	}
	return l
}

// judge draws the consequence of an answer.
func (p *pool) judge(n *node, err error) {
	var answer *rpctypes.RPCError
	var wrong *lie
	var final *finalError
	switch {
	case err == nil:
		p.back(n)
	case errors.As(err, &wrong):
		p.leave(n, Lying, wrong)
	case errors.Is(err, errLag):
		p.leave(n, Lagging, err)
	case errors.As(err, &final), errors.As(err, &answer), errors.Is(err, errBehind), errors.Is(err, ledger.ErrPruned), errors.Is(err, context.Canceled):
		// It is there, and has no answer to this.
	default:
		p.leave(n, Dead, err)
	}
}

// leave stops asking a node for a while.
func (p *pool) leave(n *node, s State, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n.state == Lying && p.now().Before(n.until) {
		return // it stays what it is
	}
	told := n.state == s
	n.state, n.why = s, why.Error()
	wait := min(awayFor<<min(n.away, 10), awayMost)
	if s == Lying {
		wait = min(lyingFor<<min(n.lies, 10), lyingMost)
		n.lies++
	} else {
		n.away++
	}
	n.until = p.now().Add(wait)
	i := slices.Index(p.nodes, n)
	p.nodes = append(slices.Delete(p.nodes, i, i+1), n)
	if !told {
		p.log.Warn("left a node of the chain", "node", n.url, "state", s, "why", n.why)
	}
}

// back takes a node that answers well again, once its time has come: another call may
// have been under way when it was left.
func (p *pool) back(n *node) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n.state == Good || p.now().Before(n.until) {
		return
	}
	p.log.Info("a node of the chain is back", "node", n.url, "was", n.state)
	n.state, n.why, n.away = Good, "", 0
}

// saw notes the height that a node told.
func (p *pool) saw(n *node, height int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n.height = max(n.height, height)
}

// status is all nodes beside the newest height.
func (p *pool) status(newest int64) []NodeStatus {
	p.mu.Lock()
	defer p.mu.Unlock()
	l := make([]NodeStatus, 0, len(p.nodes))
	for _, n := range p.nodes {
		l = append(l, NodeStatus{URL: n.url, State: n.state, Why: n.why, Height: n.height, LagBlocks: max(0, newest-n.height)})
	}
	return l
}

// reasons says what is wrong with each node.
func (p *pool) reasons() string {
	text := ""
	for _, s := range p.status(0) {
		text += fmt.Sprintf("; %s is %s: %s", s.URL, s.State, s.Why)
	}
	return text[min(2, len(text)):]
}
