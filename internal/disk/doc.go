// Package disk tells how much room the disk below a folder has.
//
// It promises what a user may still write, without what the system keeps for itself, as
// of now: somebody else may take it in the next moment. It never reserves, writes or
// deletes anything, and decides nothing about how much is enough.
package disk
