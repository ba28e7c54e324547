// Package member puts a member's home together into a running node: the chain (a
// node of its own for a validator, the network's RPC nodes for everybody else),
// one peer with the home's roles, the registration of these roles, and a control
// socket for the commands of the same machine.
//
// It promises that one process runs a home, that a member without money waits for
// it and says so instead of ending, and that everything it started has stopped
// when Run returns. It never links the chain itself: whoever has it lends an
// OpenChain. It decides nothing about work or money.
package member
