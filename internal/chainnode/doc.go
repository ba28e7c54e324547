// Package chainnode runs a node of the chain inside our process: CometBFT, the
// application and an RPC server, as a value that starts and stops. Several run in
// one process.
//
// A home holds config/ (genesis, and the validator's three keys: blocks, peer,
// beacon) and data/ (blocks, state, the last vote). It promises that a process
// killed at any moment starts again where it was, and that a home is opened by one
// process at a time. With a Watch it promises that in a chain that moves no two nodes
// with one key sign two things at one place.
//
// It never knows jobs or batches (the application does) and holds no accounts'
// keys. Damage inside CometBFT's own databases ends the process: it cannot be told
// apart from a bug there, and going on could sign twice.
package chainnode
