// Package execute is what the provider, the checker and the referee share: it
// runs single items of jobs (fetch the program, the item list and the inputs,
// expand the item, run it), keeps a role's durable records, follows the ledger by
// a stored height, and plays the commit–reveal game of those who re-execute
// blind.
//
// It promises that an item's leaf comes from running it and from nothing else,
// that a record is durable when Commit returns, and that a leaf is revealed only
// after the chain has asked for it.
//
// It never decides what to run, never sees money, and never keeps a secret longer
// than the batch it belongs to.
package execute
