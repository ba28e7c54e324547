package cosmos

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	sdkerrors "github.com/cosmos/cosmos-sdk/types/errors"
	"github.com/cosmos/gogoproto/proto"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/internal/ledger/sdkwire"
	"github.com/gotong-network/gotong/lifecycle"
	"github.com/gotong-network/gotong/work"
	market "github.com/gotong-network/gotong/x/market/types"
	prooftypes "github.com/gotong-network/gotong/x/proof/types"
	registry "github.com/gotong-network/gotong/x/registry/types"
	reward "github.com/gotong-network/gotong/x/reward/types"
)

// Status implements ledger.Reader.
func (c *Client) Status(ctx context.Context) (ledger.Status, error) { return c.node.Status(ctx) }

// Params implements ledger.Reader.
func (c *Client) Params(ctx context.Context) (p lifecycle.Params, err error) {
	var res prooftypes.QueryParamsResponse
	if _, err = c.query(ctx, "/gotong.proof.v1.Query/Params", &prooftypes.QueryParamsRequest{}, &res); err != nil {
		return p, err
	}
	return p, decode(res.Params, &p)
}

// Job implements ledger.Reader.
func (c *Client) Job(ctx context.Context, id work.JobID) (*lifecycle.Job, error) {
	var res market.QueryJobResponse
	if _, err := c.query(ctx, "/gotong.market.v1.Query/Job", &market.QueryJobRequest{Job: id[:]}, &res); err != nil {
		return nil, err
	}
	return record[lifecycle.Job](res.Job)
}

// Jobs implements ledger.Reader.
func (c *Client) Jobs(ctx context.Context, client work.Address) ([]*lifecycle.Job, error) {
	var l []*lifecycle.Job
	req := &market.QueryJobsRequest{Client: string(client)}
	for {
		var res market.QueryJobsResponse
		if _, err := c.query(ctx, "/gotong.market.v1.Query/Jobs", req, &res); err != nil {
			return nil, err
		}
		for _, b := range res.Jobs {
			j, err := record[lifecycle.Job](b)
			if err != nil {
				return nil, err
			}
			l = append(l, j)
			req.After = j.ID[:]
		}
		if !res.More || len(res.Jobs) == 0 {
			return l, nil
		}
	}
}

// Batch implements ledger.Reader.
func (c *Client) Batch(ctx context.Context, id work.BatchID) (*lifecycle.Batch, error) {
	var res prooftypes.QueryBatchResponse
	if _, err := c.query(ctx, "/gotong.proof.v1.Query/Batch", &prooftypes.QueryBatchRequest{Batch: id[:]}, &res); err != nil {
		return nil, err
	}
	return record[lifecycle.Batch](res.Batch)
}

// Batches implements ledger.Reader.
func (c *Client) Batches(ctx context.Context, job work.JobID) ([]work.BatchID, error) {
	var l []work.BatchID
	req := &prooftypes.QueryBatchesRequest{Job: job[:]}
	for {
		var res prooftypes.QueryBatchesResponse
		if _, err := c.query(ctx, "/gotong.proof.v1.Query/Batches", req, &res); err != nil {
			return nil, err
		}
		for _, b := range res.Batches {
			if len(b) != len(work.BatchID{}) {
				return nil, fmt.Errorf("the node answered a batch id of %d bytes", len(b))
			}
			l = append(l, work.BatchID(b))
			req.After = b
		}
		if !res.More || len(res.Batches) == 0 {
			return l, nil
		}
	}
}

// Party implements ledger.Reader.
func (c *Client) Party(ctx context.Context, role lifecycle.Role, account work.Address) (*lifecycle.Party, error) {
	var res registry.QueryPartyResponse
	if _, err := c.query(ctx, "/gotong.registry.v1.Query/Party", &registry.QueryPartyRequest{Role: uint32(role), Account: string(account)}, &res); err != nil {
		return nil, err
	}
	return record[lifecycle.Party](res.Party)
}

// Parties implements ledger.Reader.
func (c *Client) Parties(ctx context.Context, role lifecycle.Role) ([]*lifecycle.Party, error) {
	var l []*lifecycle.Party
	req := &registry.QueryPartiesRequest{Role: uint32(role)}
	for {
		var res registry.QueryPartiesResponse
		if _, err := c.query(ctx, "/gotong.registry.v1.Query/Parties", req, &res); err != nil {
			return nil, err
		}
		for _, b := range res.Parties {
			p, err := record[lifecycle.Party](b)
			if err != nil {
				return nil, err
			}
			l = append(l, p)
			req.After = string(p.Account)
		}
		if !res.More || len(res.Parties) == 0 {
			return l, nil
		}
	}
}

// Balance implements ledger.Reader.
func (c *Client) Balance(ctx context.Context, account work.Address) (work.Amount, error) {
	var res sdkwire.QueryBalanceResponse
	if _, err := c.query(ctx, "/cosmos.bank.v1beta1.Query/Balance", &sdkwire.QueryBalanceRequest{Address: string(account), Denom: work.Denom}, &res); err != nil {
		return 0, err
	}
	if res.Balance == nil || res.Balance.Amount.IsNil() || !res.Balance.Amount.IsUint64() {
		return 0, fmt.Errorf("balance of %s: %w", account, work.ErrOverflow)
	}
	return work.Amount(res.Balance.Amount.Uint64()), nil
}

// Evidence implements ledger.Reader.
func (c *Client) Evidence(ctx context.Context, id work.BatchID) ([]ledger.BatchPart, error) {
	var res prooftypes.QueryEvidenceResponse
	if _, err := c.query(ctx, "/gotong.proof.v1.Query/Evidence", &prooftypes.QueryEvidenceRequest{Batch: id[:]}, &res); err != nil {
		return nil, err
	}
	parts, err := prooftypes.ToParts(res.Parts)
	if err != nil {
		return nil, fmt.Errorf("the node answered evidence that is none: %w", err)
	}
	return parts, nil
}

// Commons implements ledger.Reader.
func (c *Client) Commons(ctx context.Context) (*lifecycle.Commons, error) {
	var res reward.QueryCommonsResponse
	if _, err := c.query(ctx, "/gotong.reward.v1.Query/Commons", &reward.QueryCommonsRequest{}, &res); err != nil {
		return nil, err
	}
	return record[lifecycle.Commons](res.Commons)
}

// Supply implements ledger.Reader.
func (c *Client) Supply(ctx context.Context) (ledger.Supply, error) {
	var res prooftypes.QuerySupplyResponse
	if _, err := c.query(ctx, "/gotong.proof.v1.Query/Supply", &prooftypes.QuerySupplyRequest{}, &res); err != nil {
		return ledger.Supply{}, err
	}
	return ledger.Supply{Total: work.Amount(res.Total), FeeBurn: work.Amount(res.FeeBurn), SlashBurn: work.Amount(res.SlashBurn),
		Minted: work.Amount(res.Minted), MintedCommons: work.Amount(res.MintedCommons), Escrowed: work.Amount(res.Escrowed),
		Bonded: work.Amount(res.Bonded), Unvested: work.Amount(res.Unvested), CommonsPool: work.Amount(res.CommonsPool)}, nil
}

// Conserved asks the chain to compare what every record says with what its
// modules' accounts hold; the text says where they differ. It is not part of the
// port.
func (c *Client) Conserved(ctx context.Context) (bool, string, error) {
	var res prooftypes.QueryConservedResponse
	_, err := c.query(ctx, "/gotong.proof.v1.Query/Conserved", &prooftypes.QueryConservedRequest{}, &res)
	return res.Conserved, res.Difference, err
}

// query asks the latest state and tells its height.
func (c *Client) query(ctx context.Context, path string, req, res proto.Message) (int64, error) {
	data, err := proto.Marshal(req)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	a, err := c.node.Query(ctx, path, data)
	if err != nil {
		return 0, err
	}
	tip, _ := c.height()
	switch {
	case a.Code == 0:
		c.raise(a.Height)
		if err := proto.Unmarshal(a.Value, res); err != nil {
			return 0, fmt.Errorf("%s: %w", path, err)
		}
		return a.Height, nil
	case a.Codespace == sdkerrors.RootCodespace && a.Code == sdkerrors.ErrInvalidHeight.ABCICode() && tip == 0:
		// A chain that begins has no state to ask before its first block.
		if err := c.await(ctx, 1, callTimeout); err != nil {
			return 0, fmt.Errorf("%s: %w: %s", path, ledger.ErrUnreachable, answer(a.Log))
		}
		return c.query(ctx, path, req, res)
	case a.Codespace == sdkerrors.RootCodespace && a.Code == sdkerrors.ErrKeyNotFound.ABCICode():
		return 0, fmt.Errorf("%w: %s", ledger.ErrNotFound, answer(a.Log))
	default:
		return 0, fmt.Errorf("%s: the node answered: %s", path, answer(a.Log))
	}
}

// answer is what a query's server said, without gRPC's and the SDK's wrapping.
func answer(log string) string {
	if _, text, ok := strings.Cut(log, " desc = "); ok {
		log = text
	}
	log = strings.TrimSuffix(log, ": key not found")
	return strings.TrimSuffix(log, ": not found")
}

func record[T any](b []byte) (*T, error) {
	v := new(T)
	return v, decode(b, v)
}

func decode(b []byte, v any) error {
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("the node answered a record that is none: %w", err)
	}
	return nil
}
