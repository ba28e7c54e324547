// Package limits decides how much of a machine its owner gives: CPU time, memory,
// disk, hours, and when nothing at all.
//
// It owns the words in which an owner says so (Flags, presets), the decision
// (Decide: a pure function of limits, readings, time and what was decided before)
// and the governor that asks sensors, decides, and holds workers to the decision.
// What reads a real machine is package limits/host; what bounds real workers is
// their runtime.
//
// It promises that less is given at once and more only after a while, so that
// nothing flaps; that every pause has a reason in words; and that what cannot be
// read never stops a machine by itself, except where the owner asked for idle
// hours of a machine whose use cannot be told.
//
// It never reads a file, and never knows of jobs, money or peers.
package limits
