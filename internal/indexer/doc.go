// Package indexer is the role that matches work to offers: it hands the items of
// a job to providers under signed assignments, takes their receipts, follows the
// chain's word about their batches, and tells the client what becomes of each
// item.
//
// It promises that an item never goes to two providers under one attempt, not
// even across kill -9: an assignment is durable before it is sent. A result
// counts as verified only when its batch has settled and the delivered leaves
// give the very root that was paid. What a provider loses, fails or is convicted
// of goes to another one. Its state is a log of one record per range, batch or
// receipt (never per item), which is replayed at start; the cursor of the chain
// is stored with what it led to.
//
// One goroutine owns all jobs (core.go); what it decides by is in match, what it
// knows of a job changes only through job.apply (job.go). Signatures, digests,
// files and peers are other goroutines' work.
//
// It never executes programs, holds money, or judges results.
package indexer
