// Labs searches for binary sequences with low autocorrelation: sequences of +1 and
// −1 that look as little as possible like their own shifted copies. Radar, sonar and
// radio use them as pulses and preambles, and how good they can get as they grow is
// an open question (Golay's merit factor problem): optima are known up to length 66,
// beyond that only the best that anybody has found.
//
// One run is one walk of one length, given by -length and -walk: the same two
// numbers and -steps always give the same sequence, on every machine, which is how a
// network can check it. It prints one line of JSON. With -merge it reads such lines,
// computes each sequence's energy anew from its definition, and prints the best of
// each length as CSV.
//
// It reads no clock and no random numbers, and never claims that a sequence is
// optimal.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
)

func main() {
	if err := run(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "labs:", err)
		os.Exit(2)
	}
}

// maxLength bounds a sequence: a step takes time with its square.
const maxLength = 4096

func run(args []string, in io.Reader, out io.Writer) error {
	f := flag.NewFlagSet("labs", flag.ContinueOnError)
	length := f.Int("length", 0, "length of the sequence; odd ones are searched among the skew-symmetric")
	number := f.Uint64("walk", 0, "which walk: another number searches elsewhere")
	steps := f.Int("steps", 20000, "how many sequences the walk visits")
	merge := f.Bool("merge", false, "read results from stdin and print the best of each length")
	if err := f.Parse(args); err != nil {
		return err
	}
	if *merge {
		return mergeResults(in, out)
	}
	if *length < 3 || *length > maxLength {
		return fmt.Errorf("-length %d: want 3 to %d", *length, maxLength)
	}
	if *steps < 1 {
		return fmt.Errorf("-steps %d: want at least 1", *steps)
	}
	best := search(*length, *number, *steps)
	return json.NewEncoder(out).Encode(resultOf(best, *number))
}
