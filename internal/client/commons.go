package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/gotong-network/gotong/internal/ledger"
	"github.com/gotong-network/gotong/work"
)

// PlanCommons works out a job for the commons: its escrow is empty, because the
// emission pays, and its deadline is as far away as the chain allows unless the
// request says another. The client is its curator; no indexer assigns its items.
func (c *Client) PlanCommons(ctx context.Context, r Request) (*Plan, error) {
	if err := r.List.Validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRequest, err)
	}
	if r.Tier == work.TierNone {
		return nil, fmt.Errorf("%w: work for everybody must be checked: choose a tier from economic on", ErrRequest)
	}
	program, err := r.Program.Name()
	if err != nil {
		return nil, err
	}
	p := &Plan{}
	if p.Ready, err = c.Status(ctx); err != nil {
		return nil, err
	}
	if p.Params, err = c.cfg.Ledger.Params(ctx); err != nil {
		return nil, err
	}
	if p.Balance, err = c.cfg.Ledger.Balance(ctx, c.cfg.Account); err != nil {
		return nil, err
	}
	st, err := c.cfg.Ledger.Status(ctx)
	if err != nil {
		return nil, err
	}
	p.Height = st.Height
	if r.Limits.Fuel > p.Params.MaxItemFuel {
		return nil, fmt.Errorf("%w: the fuel limit %d of an item is over this chain's %d: give a smaller --max-fuel", ErrRequest, r.Limits.Fuel, p.Params.MaxItemFuel)
	}
	blocks := p.Params.MaxJobBlocks
	if r.DeadlineBlocks > 0 {
		blocks = min(r.DeadlineBlocks, blocks)
	}
	p.Spec = work.JobSpec{
		Chain: c.cfg.Chain, Client: c.cfg.Account, Nonce: nonce(), ClientKey: c.publicKey(),
		Program: program, Profile: c.cfg.Profile, Items: work.BlobOf(r.List.Encode()), ItemCount: r.List.Len(), Limits: r.Limits, Seed: r.Seed,
		Tier: r.Tier, MaxPrice: max(p.Params.CommonsPrice, p.Params.MinPrice), Indexer: p.Ready.Key, IndexerOwner: c.cfg.IndexerOwner,
		MaxCopies: max(r.MaxCopies, 1), DeadlineHeight: st.Height + blocks,
	}
	if r.FuelPerItem > 0 {
		p.Expected, err = cost(r.FuelPerItem, p.Spec.ItemCount, p.Params.CommonsPrice)
	}
	return p, err
}

// ProposeCommons hands program and inputs to the indexer and puts the job before
// governance. It gives the number of the proposal, 0 if the chain does not tell it.
func (c *Client) ProposeCommons(ctx context.Context, r Request, p *Plan, title string, deposit work.Amount) (uint64, error) {
	id := c.Remember(p.Spec, r.List)
	if err := c.push(ctx, c.at(p.Spec.Indexer), r); err != nil {
		return 0, err
	}
	msg := ledger.Propose{Title: title, Message: ledger.ApproveCommons{Spec: p.Spec}, Deposit: deposit}
	if _, err := c.cfg.Ledger.Submit(ctx, c.cfg.Account, msg); err != nil {
		return 0, fmt.Errorf("propose the job: %w", err)
	}
	all, err := c.cfg.Ledger.Proposals(ctx)
	if err != nil {
		return 0, errors.Join(fmt.Errorf("job %s is proposed, but the chain does not say as which proposal", id.Short()), err)
	}
	for _, v := range all {
		if spec := v.Commons(); spec != nil && spec.ID() == id {
			return v.ID, nil
		}
	}
	return 0, nil
}
