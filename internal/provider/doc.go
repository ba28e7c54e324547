// Package provider is the role that runs other people's items for money.
//
// It publishes a signed offer, takes signed assignments from any number of
// indexers, runs their items in the runtime's slots, evenly among the jobs,
// reports results in signed receipts, commits them to the chain in batches,
// opens and reveals what the chain asks for, and keeps all of it on disk.
//
// It promises that a receipt leaves only when its results and the assignment
// behind them are on disk, that a batch's salt and contents are on disk before
// the chain hears of the batch, that after a crash the same batch with the same
// salt is committed again and never a second one for the same items, and that a
// fault of the host is reported as such and never committed as a result.
//
// Finished chunks that are in no batch belong to the batcher (commit.go): nobody else
// puts them into a batch, splits them or gives them up. A batch belongs to the
// goroutine that tends it until its end on the chain (tend.go); if the chain refuses
// it, its chunks go back to the batcher.
//
// What no slot needs for paid work goes to the commons: jobs that governance
// approved, whose items the chain's beacon hands out (commons.go). Paid work takes
// the slots back at once.
//
// It never decides who gets work, never changes a result, and never trusts an
// assignment that the job's indexer has not signed. What it has on disk:
//
//	j/JOB       the job's spec, holders, and whether it was flushed
//	a/JOB/N     an assignment
//	c/JOB/N     a chunk: the signed receipt of up to 1024 finished items of one
//	            assignment, the unit that is written, sent and committed
//	x/JOB/N     items that the indexer took back
//	b/JOB/N     a batch: salt, parts and the chunks it was made of
package provider
