// Package work is the vocabulary of the network: ids, amounts, units, jobs,
// items, ranges, leaves, assignments, receipts and offers, with the canonical
// bytes and hashes that every role and the chain agree on.
//
// It promises that each value has exactly one canonical encoding, that every
// decoder is bounded and never panics on strangers' bytes, and that equal
// values hash equally on every machine. The formats are listed, with test
// vectors, in docs/spec/canonical.md.
//
// It never does I/O, reads a clock, draws randomness, or decides anything about
// money beyond arithmetic: decisions live in lifecycle, incentive and match.
package work
