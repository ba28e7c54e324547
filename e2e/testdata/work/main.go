// Command work is what the tests of the whole program compute: it takes some time,
// and its results follow from its inputs by integer arithmetic.
//
//	work sum I ROUNDS FILE   prints I and a sum over ROUNDS rounds that begins with FILE's bytes
//	work upper IN OUT        writes IN in upper case to OUT; exits with 7 if IN says so
//	work upperslow IN OUT    the same, after much work
//	work entropy I           prints whatever differs from run to run on a usual machine
package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"math"
	"os"
	"strconv"
	"time"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "work:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 4 && args[0] == "sum" {
		return sum(args[1], args[2], args[3])
	}
	if len(args) == 3 && (args[0] == "upper" || args[0] == "upperslow") {
		return upper(args[1], args[2], args[0] == "upperslow")
	}
	if len(args) == 2 && args[0] == "entropy" {
		return entropy()
	}
	return fmt.Errorf("unknown arguments %q", args)
}

// entropy asks clocks, random numbers, the order of maps, addresses, and the bits of NaNs.
func entropy() error {
	var seed [16]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return err
	}
	began := time.Now()
	m := map[int]string{}
	for i := range 20 {
		m[i] = strconv.Itoa(i)
	}
	for _, v := range m {
		fmt.Print(v, " ")
	}
	zero := 0.0
	nan := zero / zero
	files, err := os.ReadDir(".")
	fmt.Println(began.UnixNano(), time.Since(began), seed, &m, os.Getpid(), os.Environ(), files, err)
	fmt.Printf("%x %x %x\n", math.Float64bits(nan), math.Float64bits(-nan), math.Float32bits(float32(nan)*float32(began.UnixNano())))
	return nil
}

func sum(item, rounds, file string) error {
	i, err := strconv.ParseUint(item, 10, 64)
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(rounds, 10, 64)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	_, err = fmt.Printf("%d %016x\n", i, Sum(b, i, n))
	return err
}

func upper(in, out string, slow bool) error {
	b, err := os.ReadFile(in)
	if err != nil {
		return err
	}
	if bytes.Contains(b, []byte("exit 7")) {
		os.Exit(7)
	}
	if slow {
		fmt.Fprintf(os.Stderr, "%x\n", Sum(b, 0, 300_000_000))
	}
	return os.WriteFile(out, bytes.ToUpper(b), 0o644)
}

// Sum is the tests' function: n rounds of xorshift over what b and i begin with.
func Sum(b []byte, i, n uint64) uint64 {
	x := i + 0x9e3779b97f4a7c15
	for _, c := range b {
		x = (x ^ uint64(c)) * 0x100000001b3
	}
	x |= 1
	for range n {
		x ^= x << 13
		x ^= x >> 7
		x ^= x << 17
	}
	return x
}
