// Package e2e holds the tests of the whole program: real processes of gotong, killed,
// interrupted and started again, real networks with cheats among their providers, and
// the commands that a user types.
//
// It promises that what it runs is the program itself: the test binary becomes gotong
// when it is started again with an environment variable (see main_test.go), so every
// process has the real command line, chain, peers and sandboxes. A test that draws
// something prints its seed, and GOTONG_E2E_SEED repeats the run.
//
// It tests no package alone, times nothing, and has no code but tests.
package e2e
