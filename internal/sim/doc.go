// Package sim is a network of a thousand to a million providers in virtual time: it
// plays markets, churn, cheats, checks, slashes and rewards with the rooms that the
// chain and the roles use too (match ranks and deals, incentive sets bonds, samples
// and fees, lifecycle gives the parameters), and writes what came of it as a report.
//
// It promises the same result, bit for bit, for the same Config on every machine and
// with any number of workers: random numbers come from counters, money and outcomes
// are whole numbers, and floats appear only where match ranks, which rounds the same
// way everywhere. Money is conserved: every day all of it is added up. Batches that
// are alike share one quote, and the pay of an honest provider's batches is added up
// before it moves; a test shows that this changes nothing.
//
// An hour is a tick. A batch that is committed in one tick settles in the next, for
// the window lasts an hour, unless a dispute holds it up: disputes wait for the
// referee in one queue, and the younger batches of a provider behind its own. Items
// of a batch weigh the same. Checkers get their fees, and lose their stakes, when they
// report; everybody else when the referee has spoken. What it never does: I/O (but for
// Write), clocks, a model of bytes on a wire, or a second set of rules.
package sim
