package light

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	abci "github.com/cometbft/cometbft/abci/types"
	"github.com/cosmos/gogoproto/proto"

	"cosmossdk.io/collections"
	"cosmossdk.io/collections/codec"

	codectypes "github.com/cosmos/cosmos-sdk/codec/types"
	sdk "github.com/cosmos/cosmos-sdk/types"
	"github.com/cosmos/cosmos-sdk/types/bech32"
	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/sdkwire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
	market "github.com/gotong-network/gotong/x/market/types"
	prooftypes "github.com/gotong-network/gotong/x/proof/types"
	registry "github.com/gotong-network/gotong/x/registry/types"
	reward "github.com/gotong-network/gotong/x/reward/types"
)

// Where the records are. A module that moves its records breaks the conformance
// suite, which reads all of them through this table from a real chain.
var (
	jobKey      = keyOf(1, collections.BytesKey)
	batchKey    = keyOf(2, collections.BytesKey)
	evidenceKey = keyOf(12, collections.BytesKey)
	partyKey    = keyOf(1, collections.PairKeyCodec(collections.Uint32Key, collections.StringKey))
	accountKey  = keyOf(1, collections.BytesKey)
	supplyKey   = keyOf(0, collections.StringKey)
	balanceKey  = keyOf(2, collections.PairKeyCodec(sdk.AccAddressKey, collections.StringKey))
	proposalKey = keyOf(0, collections.Uint64Key)

	paramsKey   = []byte{1} // of proof
	stakesKey   = []byte{4} // of proof
	escrowsKey  = []byte{4} // of market
	bondsKey    = []byte{2} // of registry
	unvestedKey = []byte{3} // of registry
	flowsKey    = []byte{1} // of reward
	commonsKey  = []byte{2} // of reward
)

// keyOf gives the bytes of a collection's keys.
func keyOf[K any](prefix uint8, c codec.KeyCodec[K]) func(K) ([]byte, error) {
	return func(k K) ([]byte, error) { return collections.EncodeKeyWithPrefix([]byte{prefix}, c, k) }
}

// errMissing is the absence of a record, by proof.
var errMissing = errors.New("not found")

// queries answers the modules' queries as their servers would, from records that were
// proved. A query that is not here is refused.
var queries = map[string]func(view, context.Context, []byte) (proto.Message, error){
	"/gotong.proof.v1.Query/Params":          params,
	"/gotong.proof.v1.Query/Batch":           batch,
	"/gotong.proof.v1.Query/Batches":         batches,
	"/gotong.proof.v1.Query/Evidence":        evidence,
	"/gotong.proof.v1.Query/Supply":          supply,
	"/gotong.market.v1.Query/Job":            job,
	"/gotong.market.v1.Query/Jobs":           jobs,
	"/gotong.registry.v1.Query/Party":        party,
	"/gotong.registry.v1.Query/Parties":      parties,
	"/gotong.reward.v1.Query/Commons":        commons,
	"/cosmos.bank.v1beta1.Query/Balance":     balance,
	"/cosmos.auth.v1beta1.Query/AccountInfo": account,
	"/cosmos.gov.v1.Query/Proposals":         proposals,
	"/cosmos.gov.v1.Query/TallyResult":       unproved("/cosmos.gov.v1.Query/TallyResult"), // of a vote under way: the chain has no record of it
	"/gotong.proof.v1.Query/Conserved":       unproved("/gotong.proof.v1.Query/Conserved"),
}

// query answers one of the queries, or reads a key of a store (/store/NAME/key).
func (s *state) query(ctx context.Context, path string, request []byte) (*abci.ResponseQuery, error) {
	v := view{s, s.chain.newest().Header}
	if name, ok := strings.CutPrefix(path, "/store/"); ok {
		value, err := v.get(ctx, strings.TrimSuffix(name, "/key"), request)
		return &abci.ResponseQuery{Key: request, Value: value, Height: v.at.Height - 1}, err
	}
	f, ok := queries[path]
	if !ok {
		return nil, fmt.Errorf("%s: a light client has no proof for this query: ask a full node of your own", path)
	}
	res, err := f(v, ctx, request)
	if errors.Is(err, errMissing) {
		return &abci.ResponseQuery{Code: sdkerrors.ErrKeyNotFound.ABCICode(), Codespace: sdkerrors.RootCodespace, Log: err.Error(), Height: v.at.Height - 1}, nil
	}
	if err != nil {
		return nil, err
	}
	b, err := proto.Marshal(res)
	return &abci.ResponseQuery{Value: b, Height: v.at.Height - 1}, err
}

// record reads a key that must be there.
func (v view) record(ctx context.Context, store, what string, key []byte, err error) ([]byte, error) {
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	b, err := v.get(ctx, store, key)
	if err == nil && b == nil {
		err = fmt.Errorf("%s: %w", what, errMissing)
	}
	return b, err
}

func params(v view, ctx context.Context, _ []byte) (proto.Message, error) {
	b, err := v.record(ctx, prooftypes.ModuleName, "parameters", paramsKey, nil)
	return &prooftypes.QueryParamsResponse{Params: b}, err
}

func batch(v view, ctx context.Context, request []byte) (proto.Message, error) {
	var q prooftypes.QueryBatchRequest
	if err := q.Unmarshal(request); err != nil {
		return nil, err
	}
	key, err := batchKey(q.Batch)
	b, err := v.record(ctx, prooftypes.ModuleName, fmt.Sprintf("batch %x", q.Batch), key, err)
	return &prooftypes.QueryBatchResponse{Batch: b}, err
}

func evidence(v view, ctx context.Context, request []byte) (proto.Message, error) {
	var q prooftypes.QueryEvidenceRequest
	if err := q.Unmarshal(request); err != nil {
		return nil, err
	}
	key, err := evidenceKey(q.Batch)
	b, err := v.record(ctx, prooftypes.ModuleName, fmt.Sprintf("assignments of batch %x", q.Batch), key, err)
	if err != nil {
		return nil, err
	}
	res := new(prooftypes.QueryEvidenceResponse)
	return res, res.Unmarshal(b)
}

func job(v view, ctx context.Context, request []byte) (proto.Message, error) {
	var q market.QueryJobRequest
	if err := q.Unmarshal(request); err != nil {
		return nil, err
	}
	key, err := jobKey(q.Job)
	b, err := v.record(ctx, market.ModuleName, fmt.Sprintf("job %x", q.Job), key, err)
	return &market.QueryJobResponse{Job: b}, err
}

func party(v view, ctx context.Context, request []byte) (proto.Message, error) {
	var q registry.QueryPartyRequest
	if err := q.Unmarshal(request); err != nil {
		return nil, err
	}
	key, err := partyKey(collections.Join(q.Role, q.Account))
	b, err := v.record(ctx, registry.ModuleName, fmt.Sprintf("%s is not registered as %s", q.Account, lifecycle.Role(q.Role)), key, err)
	return &registry.QueryPartyResponse{Party: b}, err
}

func commons(v view, ctx context.Context, _ []byte) (proto.Message, error) {
	b, err := v.get(ctx, reward.ModuleName, commonsKey)
	if err == nil && b == nil {
		b, err = json.Marshal(lifecycle.Commons{}) // before the first approval
	}
	return &reward.QueryCommonsResponse{Commons: b}, err
}

func balance(v view, ctx context.Context, request []byte) (proto.Message, error) {
	var q sdkwire.QueryBalanceRequest
	if err := q.Unmarshal(request); err != nil {
		return nil, err
	}
	_, address, err := bech32.DecodeAndConvert(q.Address)
	if err != nil {
		return nil, fmt.Errorf("account %.80q: %w", q.Address, err)
	}
	key, err := balanceKey(collections.Join(sdk.AccAddress(address), q.Denom))
	if err != nil {
		return nil, err
	}
	coin := sdk.NewInt64Coin(q.Denom, 0)
	b, err := v.get(ctx, sdkwire.BankStore, key)
	if err == nil && b != nil {
		coin.Amount, err = sdk.IntValue.Decode(b)
	}
	return &sdkwire.QueryBalanceResponse{Balance: &coin}, err
}

func account(v view, ctx context.Context, request []byte) (proto.Message, error) {
	var q sdkwire.QueryAccountInfoRequest
	if err := q.Unmarshal(request); err != nil {
		return nil, err
	}
	_, address, err := bech32.DecodeAndConvert(q.Address)
	if err != nil {
		return nil, fmt.Errorf("account %.80q: %w", q.Address, err)
	}
	key, err := accountKey(address)
	b, err := v.record(ctx, sdkwire.AuthStore, "account "+q.Address, key, err)
	if err != nil {
		return nil, err
	}
	var any codectypes.Any
	if err := any.Unmarshal(b); err != nil {
		return nil, fmt.Errorf("account %s: %w", q.Address, err)
	}
	base := new(sdkwire.BaseAccount)
	switch any.TypeUrl {
	case "/" + proto.MessageName(base):
		err = base.Unmarshal(any.Value)
	case "/" + proto.MessageName(&sdkwire.ModuleAccount{}):
		var m sdkwire.ModuleAccount
		if err = m.Unmarshal(any.Value); err == nil && m.BaseAccount != nil {
			base = m.BaseAccount
		}
	default:
		err = fmt.Errorf("an account of type %q", any.TypeUrl)
	}
	return &sdkwire.QueryAccountInfoResponse{Info: &sdkwire.BaseAccount{Address: q.Address, AccountNumber: base.AccountNumber, Sequence: base.Sequence}}, err
}

// supply is put together from the sums that the modules keep, all of one height.
func supply(v view, ctx context.Context, _ []byte) (proto.Message, error) {
	res := &prooftypes.QuerySupplyResponse{}
	key, err := supplyKey(work.Denom)
	if err != nil {
		return nil, err
	}
	b, err := v.record(ctx, sdkwire.BankStore, "supply", key, nil)
	if err != nil {
		return nil, err
	}
	total, err := sdk.IntValue.Decode(b)
	if err != nil || !total.IsUint64() {
		return nil, fmt.Errorf("supply: %w: %v", work.ErrOverflow, err)
	}
	res.Total = total.Uint64()
	var stakes uint64
	for _, part := range []struct {
		store string
		key   []byte
		to    *uint64
	}{{market.ModuleName, escrowsKey, &res.Escrowed}, {prooftypes.ModuleName, stakesKey, &stakes},
		{registry.ModuleName, bondsKey, &res.Bonded}, {registry.ModuleName, unvestedKey, &res.Unvested}} {
		b, err := v.get(ctx, part.store, part.key)
		if err != nil {
			return nil, err
		}
		if b != nil { // a sum that never changed is zero
			if *part.to, err = collections.Uint64Value.Decode(b); err != nil {
				return nil, fmt.Errorf("sum of %s: %w", part.store, err)
			}
		}
	}
	res.Escrowed += stakes
	var flows struct{ Fees, Slashes, Minted, Commons uint64 } // of reward's keeper, whose names are these in lower case
	if err := v.json(ctx, reward.ModuleName, flowsKey, &flows); err != nil {
		return nil, err
	}
	res.FeeBurn, res.SlashBurn, res.Minted, res.MintedCommons = flows.Fees, flows.Slashes, flows.Minted, flows.Commons
	var pool lifecycle.Commons
	err = v.json(ctx, reward.ModuleName, commonsKey, &pool)
	res.CommonsPool = uint64(pool.Pool)
	return res, err
}

// json reads a record, leaving v as it is if there is none.
func (v view) json(ctx context.Context, store string, key []byte, to any) error {
	b, err := v.get(ctx, store, key)
	if err != nil || b == nil {
		return err
	}
	return json.Unmarshal(b, to)
}

// unproved passes a question on that no record answers; nothing is decided by it.
func unproved(path string) func(view, context.Context, []byte) (proto.Message, error) {
	return func(v view, ctx context.Context, request []byte) (proto.Message, error) {
		var answer raw
		err := v.state.chain.pool.try(ctx, func(ctx context.Context, n *node) error {
			r, err := n.query(ctx, path, request, 0, false)
			if err != nil {
				return err
			}
			if r.Code != 0 {
				return &finalError{fmt.Errorf("%s: the node answered: %.200s", path, r.Log)}
			}
			answer = r.Value
			return nil
		})
		return &answer, err
	}
}

// raw is a message's bytes as they came.
type raw []byte

func (r *raw) Reset()                   { *r = nil }
func (r *raw) String() string           { return strconv.Itoa(len(*r)) + " bytes" }
func (*raw) ProtoMessage()              {}
func (r *raw) Marshal() ([]byte, error) { return *r, nil }

// Bounds of a list.
const (
	maxList     = 20_000 // records
	listReaders = 8      // at once
)

// list is a kind of records that are listed: a node says which there are, each is
// then read by proof.
type list struct {
	// page asks a node for the ids after one, and whether there are more.
	page func(ctx context.Context, ask asker, after string) (ids []string, more bool, err error)
	// read gives a record by proof, nil if it is not one of the list.
	read func(ctx context.Context, id string) ([]byte, error)
}

// asker asks one node a query of the view's height.
type asker func(ctx context.Context, path string, request, response proto.Message) error

// all gives the ids and records of a list, sorted by id. No proof says that nothing
// was left out, so a second node is asked where there is one: what either names and
// the state has is in the list, and who left it out or made it up is left.
func (v view) all(ctx context.Context, l list) (ids []string, records [][]byte, err error) {
	said := map[*node][]string{}
	nodes := v.state.chain.pool.candidates()
	var errs []error
	for _, n := range nodes {
		got, err := v.ids(ctx, n, l)
		v.state.chain.pool.judge(n, err)
		if ctx.Err() != nil {
			return nil, nil, ctx.Err()
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", n.url, err))
			continue
		}
		said[n] = got
		ids = append(ids, got...)
		if len(said) == 2 {
			break
		}
	}
	if len(said) == 0 {
		return nil, nil, fmt.Errorf("%w: %w", ledger.ErrUnreachable, errors.Join(errs...))
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	records, err = readAll(ctx, ids, l.read)
	if err != nil {
		return nil, nil, err
	}
	there := map[string]bool{}
	for i, id := range ids {
		there[id] = records[i] != nil
	}
	for n, got := range said {
		v.state.chain.pool.judge(n, held(there, got))
	}
	var truth []string
	var kept [][]byte
	for i, id := range ids {
		if there[id] {
			truth, kept = append(truth, id), append(kept, records[i])
		}
	}
	return truth, kept, nil
}

// held holds a node's list against what is there.
func held(there map[string]bool, got []string) error {
	named := map[string]bool{}
	for _, id := range got {
		if named[id] = true; !there[id] {
			return lied("it listed %.80q, which the state does not have", id)
		}
	}
	for id, is := range there {
		if is && !named[id] {
			return lied("it left %.80q out of a list, which the state has", id)
		}
	}
	return nil
}

// ids asks a node for all pages of a list.
func (v view) ids(ctx context.Context, n *node, l list) (ids []string, err error) {
	ask := func(ctx context.Context, path string, request, response proto.Message) error {
		b, err := proto.Marshal(request)
		if err != nil {
			return err
		}
		call, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		r, err := n.query(call, path, b, v.at.Height-1, false)
		if err != nil {
			return err
		}
		if r.Code != 0 {
			return fmt.Errorf("%w: %s: %.200s", errBehind, path, r.Log)
		}
		if err := proto.Unmarshal(r.Value, response); err != nil {
			return lied("%s: %w", path, err)
		}
		return nil
	}
	after := ""
	for {
		page, more, err := l.page(ctx, ask, after)
		if err != nil {
			return nil, err
		}
		for _, id := range page {
			if id <= after {
				return nil, lied("a list that is not in order")
			}
			after = id
		}
		if ids = append(ids, page...); len(ids) > maxList {
			return nil, &finalError{fmt.Errorf("a list of over %d records is too long for a light client", maxList)}
		}
		if !more || len(page) == 0 {
			return ids, nil
		}
	}
}

// readAll reads records, a few at once.
func readAll(ctx context.Context, ids []string, read func(context.Context, string) ([]byte, error)) ([][]byte, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	records := make([][]byte, len(ids))
	next := make(chan int)
	var readers sync.WaitGroup
	for range min(listReaders, len(ids)) {
		readers.Go(func() {
			for i := range next {
				var err error
				if records[i], err = read(ctx, ids[i]); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range ids {
		if ctx.Err() != nil {
			break
		}
		next <- i
	}
	close(next)
	readers.Wait()
	return records, context.Cause(ctx)
}

func jobs(v view, ctx context.Context, request []byte) (proto.Message, error) {
	var q market.QueryJobsRequest
	if err := q.Unmarshal(request); err != nil {
		return nil, err
	}
	_, records, err := v.all(ctx, list{
		page: func(ctx context.Context, ask asker, after string) (ids []string, more bool, err error) {
			var r market.QueryJobsResponse
			if err := ask(ctx, "/gotong.market.v1.Query/Jobs", &market.QueryJobsRequest{Client: q.Client, After: []byte(after)}, &r); err != nil {
				return nil, false, err
			}
			for _, b := range r.Jobs {
				var j struct{ ID work.JobID }
				if err := json.Unmarshal(b, &j); err != nil {
					return nil, false, lied("a job that is none: %w", err)
				}
				ids = append(ids, string(j.ID[:]))
			}
			return ids, r.More, nil
		},
		read: func(ctx context.Context, id string) ([]byte, error) {
			return v.matching(ctx, market.ModuleName, jobKey, []byte(id), func(b []byte) (bool, error) {
				var j lifecycle.Job
				err := json.Unmarshal(b, &j)
				return q.Client == "" || string(j.Spec.Client) == q.Client, err
			})
		},
	})
	return &market.QueryJobsResponse{Jobs: records}, err
}

func batches(v view, ctx context.Context, request []byte) (proto.Message, error) {
	var q prooftypes.QueryBatchesRequest
	if err := q.Unmarshal(request); err != nil {
		return nil, err
	}
	ids, _, err := v.all(ctx, list{
		page: func(ctx context.Context, ask asker, after string) (ids []string, more bool, err error) {
			var r prooftypes.QueryBatchesResponse
			if err := ask(ctx, "/gotong.proof.v1.Query/Batches", &prooftypes.QueryBatchesRequest{Job: q.Job, After: []byte(after)}, &r); err != nil {
				return nil, false, err
			}
			for _, b := range r.Batches {
				ids = append(ids, string(b))
			}
			return ids, r.More, nil
		},
		read: func(ctx context.Context, id string) ([]byte, error) {
			return v.matching(ctx, prooftypes.ModuleName, batchKey, []byte(id), func(b []byte) (bool, error) {
				var of struct{ Job work.JobID }
				err := json.Unmarshal(b, &of)
				return bytes.Equal(of.Job[:], q.Job), err
			})
		},
	})
	res := &prooftypes.QueryBatchesResponse{}
	for _, id := range ids {
		res.Batches = append(res.Batches, []byte(id))
	}
	return res, err
}

func parties(v view, ctx context.Context, request []byte) (proto.Message, error) {
	var q registry.QueryPartiesRequest
	if err := q.Unmarshal(request); err != nil {
		return nil, err
	}
	_, records, err := v.all(ctx, list{
		page: func(ctx context.Context, ask asker, after string) (ids []string, more bool, err error) {
			var r registry.QueryPartiesResponse
			if err := ask(ctx, "/gotong.registry.v1.Query/Parties", &registry.QueryPartiesRequest{Role: q.Role, After: after}, &r); err != nil {
				return nil, false, err
			}
			for _, b := range r.Parties {
				var p struct{ Account work.Address }
				if err := json.Unmarshal(b, &p); err != nil {
					return nil, false, lied("a party that is none: %w", err)
				}
				ids = append(ids, string(p.Account))
			}
			return ids, r.More, nil
		},
		read: func(ctx context.Context, id string) ([]byte, error) {
			key := func(id []byte) ([]byte, error) {
				if len(id) > 200 || strings.ContainsRune(string(id), 0) {
					return nil, nil // no account
				}
				return partyKey(collections.Join(q.Role, string(id)))
			}
			return v.matching(ctx, registry.ModuleName, key, []byte(id), func([]byte) (bool, error) { return true, nil })
		},
	})
	return &registry.QueryPartiesResponse{Parties: records}, err
}

// matching reads a record that is one of a list, or nil.
func (v view) matching(ctx context.Context, store string, key func([]byte) ([]byte, error), id []byte, is func([]byte) (bool, error)) ([]byte, error) {
	k, err := key(id)
	if err != nil || k == nil {
		return nil, err
	}
	b, err := v.get(ctx, store, k)
	if err != nil || b == nil {
		return nil, err
	}
	ok, err := is(b)
	if err != nil || !ok {
		return nil, err
	}
	return b, nil
}

// proposals gives those that the node names, newest first, each by proof.
func proposals(v view, ctx context.Context, request []byte) (proto.Message, error) {
	var q sdkwire.QueryProposalsRequest
	if err := q.Unmarshal(request); err != nil {
		return nil, err
	}
	ids, records, err := v.all(ctx, list{
		page: func(ctx context.Context, ask asker, _ string) (ids []string, more bool, err error) {
			var r sdkwire.QueryProposalsResponse
			if err := ask(ctx, "/cosmos.gov.v1.Query/Proposals", &q, &r); err != nil {
				return nil, false, err
			}
			for _, p := range r.Proposals {
				ids = append(ids, fmt.Sprintf("%020d", p.Id))
			}
			slices.Sort(ids)
			return slices.Compact(ids), false, nil
		},
		read: func(ctx context.Context, id string) ([]byte, error) {
			n, err := strconv.ParseUint(id, 10, 64)
			if err != nil {
				return nil, err
			}
			return v.matching(ctx, sdkwire.GovStore, func([]byte) ([]byte, error) { return proposalKey(n) }, nil, func([]byte) (bool, error) { return true, nil })
		},
	})
	if err != nil {
		return nil, err
	}
	res := &sdkwire.QueryProposalsResponse{}
	for i := range ids {
		p := new(sdkwire.Proposal)
		if err := p.Unmarshal(records[len(ids)-1-i]); err != nil {
			return nil, fmt.Errorf("proposal %s: %w", ids[len(ids)-1-i], err)
		}
		res.Proposals = append(res.Proposals, p)
	}
	return res, nil
}
