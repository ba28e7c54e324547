// Package wire holds the messages that roles send each other peer to peer and
// their canonical bytes: assignments and receipts between indexer and provider,
// requests and progress between client and indexer.
//
// It promises bounded decoders that never panic, and that a receipt is bound to
// its sender by a signature. It does no I/O and decides nothing.
package wire
