// Package host reads a machine for the governor of package limits: what it has,
// whether it is used, where its power comes from, how hot it is, whether its network
// is paid by volume, and how full its disk is.
//
// It reads files of Linux below a root folder, so that trees recorded elsewhere can
// be read in tests, and it needs no privileges, service or bus. It promises that
// what cannot be read is said to be unknown, never guessed, and that a reading takes
// well under a millisecond. It never writes anything and decides nothing.
//
// What each reader takes, and on what kind of machine it was seen to work, is in
// docs/guide/limits.md.
package host
