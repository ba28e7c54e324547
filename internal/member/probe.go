package member

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/gotong-network/gotong/internal/home"
	"github.com/gotong-network/gotong/internal/ledger"
)

// Bounds of what RPC servers are asked, and of what they may answer.
const (
	maxProbed    = 16
	probeTimeout = 5 * time.Second
	maxProbe     = 4 << 20
)

// probed is what one RPC server said of itself.
type probed struct {
	url  string
	tip  int64
	skew time.Duration // this clock less the server's; within a second
	err  error
}

// probe asks RPC servers for their height and their clock, all at once.
func probe(ctx context.Context, chain string, urls []string) []probed {
	out := make([]probed, min(len(urls), maxProbed))
	var wg sync.WaitGroup
	for i := range out {
		wg.Go(func() { out[i] = probeOne(ctx, chain, urls[i]) })
	}
	wg.Wait()
	return out
}

func probeOne(ctx context.Context, chain, url string) (p probed) {
	p.url = url
	var st struct {
		NodeInfo struct {
			Network string `json:"network"`
		} `json:"node_info"`
		SyncInfo struct {
			Height string `json:"latest_block_height"`
		} `json:"sync_info"`
	}
	began := time.Now()
	var head http.Header
	if head, p.err = askRPC(ctx, url+"/status", &st); p.err != nil {
		return p
	}
	took := time.Since(began)
	if st.NodeInfo.Network != chain {
		p.err = fmt.Errorf("it answers for the chain %.60q, not %q", st.NodeInfo.Network, chain)
		return p
	}
	if p.tip, p.err = strconv.ParseInt(st.SyncInfo.Height, 10, 64); p.err != nil {
		return p
	}
	if at, err := http.ParseTime(head.Get("Date")); err == nil {
		// The date is cut to the second: half of one is added back.
		p.skew = began.Add(took / 2).Sub(at.Add(time.Second / 2))
	} else {
		p.err = fmt.Errorf("it tells no time: %w", err)
	}
	return p
}

// askRPC reads the result of an RPC server's answer.
func askRPC(ctx context.Context, url string, out any) (http.Header, error) {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ledger.ErrUnreachable, err)
	}
	defer res.Body.Close()
	var v struct {
		Result json.RawMessage `json:"result"`
		Error  json.RawMessage `json:"error"`
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, maxProbe)).Decode(&v); err != nil {
		return nil, fmt.Errorf("%s: not an RPC server's answer: %w", url, err)
	}
	if len(v.Error) > 0 {
		return nil, fmt.Errorf("%s: %.300s", url, v.Error)
	}
	if err := json.Unmarshal(v.Result, out); err != nil {
		return nil, fmt.Errorf("%s: %w", url, err)
	}
	return res.Header, nil
}

// headerHash is the hash of a height's header, as one server says.
func headerHash(ctx context.Context, url string, height int64) (string, error) {
	var c struct {
		Signed struct {
			Commit struct {
				Height string `json:"height"`
				Block  struct {
					Hash string `json:"hash"`
				} `json:"block_id"`
			} `json:"commit"`
		} `json:"signed_header"`
	}
	if _, err := askRPC(ctx, fmt.Sprintf("%s/commit?height=%d", url, height), &c); err != nil {
		return "", err
	}
	hash := strings.ToLower(c.Signed.Commit.Block.Hash)
	if c.Signed.Commit.Height != strconv.FormatInt(height, 10) || len(hash) != 64 {
		return "", fmt.Errorf("%s: it answered another commit than that of height %d", url, height)
	}
	return hash, nil
}

// ErrDisagree reports RPC servers of which no majority tells the same block.
var ErrDisagree = errors.New("the network's nodes disagree about its blocks")

// Trust asks all nodes that a member knows for a recent header and gives the one
// that most of them tell. It is for the first contact only: who has a trusted
// header verifies later ones from it. others are those that said something else.
func Trust(ctx context.Context, n home.Network) (height int64, hash string, others []string, err error) {
	up := slices.DeleteFunc(probe(ctx, n.Chain, n.RPCs), func(p probed) bool { return p.err != nil || p.tip < 1 })
	if len(up) == 0 {
		return 0, "", nil, fmt.Errorf("none of the %d nodes tells a block: %w", len(n.RPCs), ledger.ErrUnreachable)
	}
	// The middle of what they tell: a liar's height is not followed, a laggard's not
	// waited for.
	slices.SortFunc(up, func(a, b probed) int { return int(a.tip - b.tip) })
	height = max(up[(len(up)-1)/2].tip-1, 1)
	by := map[string][]string{}
	answers := 0
	for _, p := range up {
		if h, err := headerHash(ctx, p.url, height); err == nil {
			by[h] = append(by[h], p.url)
			answers++
		}
	}
	for h, urls := range by {
		if 2*len(urls) > answers {
			hash = h
		}
	}
	if hash == "" {
		return 0, "", nil, fmt.Errorf("header %d from %d nodes: %w", height, answers, ErrDisagree)
	}
	for h, urls := range by {
		if h != hash {
			others = append(others, urls...)
		}
	}
	return height, hash, others, nil
}
