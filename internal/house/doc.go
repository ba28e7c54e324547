// Package house keeps the order of the repository: its tests hold the allowed
// imports, demand a comment on every package, and keep clocks, randomness and
// floats out of the chain's modules. It has no code of its own and nothing
// imports it.
package house
