// Package match decides who gets which work: offers × request → ranked offers,
// and how a job is split, watched and tried again (split.go).
//
// It promises to be pure: the same arguments give the same answer, ties are
// broken by account, and equal offers get equal work. Money is compared, never
// computed, so floats are allowed here: nothing of this reaches the chain.
//
// It never does I/O, reads a clock, keeps state or signs: the indexer asks and
// acts.
package match
