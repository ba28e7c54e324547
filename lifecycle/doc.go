// Package lifecycle holds the pure machines of the protocol: a job's escrow, a
// batch from commit to payout or void, and the dispute inside it. Every
// transition is a function of the state, the input, the chain's parameters and
// the height: it gives the next state and the effects (money to move, events to
// tell), or an error and no change.
//
// It promises that every wait has a deadline and a default, that the transfers of
// a batch add up to what it locked, and that the same inputs give the same state
// on every machine.
//
// It never does I/O, reads a clock, draws randomness (the beacon's value is an
// input), iterates over a map or uses floats. The chain's keepers, the fake
// ledger and the simulator all drive these same functions.
package lifecycle
