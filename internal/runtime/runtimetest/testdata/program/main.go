// Program is what the conformance suite runs: one WASI command with a word for
// each thing that a test looks at.
package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"
)

func main() {
	if len(os.Args) < 2 {
		return
	}
	args := os.Args[2:]
	switch os.Args[1] {
	case "exit":
		os.Exit(number(args[0]))
	case "echo": // name, arguments, environment, stdin; a word on stderr
		fmt.Printf("%q\n%q\n", os.Args, os.Environ())
		in, err := io.ReadAll(os.Stdin)
		check(err)
		os.Stdout.Write(in)
		fmt.Fprint(os.Stderr, "to stderr")
	case "cat":
		for _, name := range args {
			b, err := os.ReadFile(name)
			check(err)
			os.Stdout.Write(b)
		}
	case "write": // pairs of a name and its content
		for i := 0; i+1 < len(args); i += 2 {
			check(os.WriteFile(args[i], []byte(args[i+1]), 0o644))
		}
	case "chance":
		b := make([]byte, 16)
		rand.Read(b)
		fmt.Printf("%x %d\n", b, time.Now().UnixNano())
	case "panic":
		panic("as asked")
	case "spin":
		for i := uint(0); ; i++ {
			sink += i
		}
	case "work": // so many rounds
		for i := range number(args[0]) {
			sink += sink<<7 ^ uint(i)
		}
		fmt.Println(sink)
	case "take": // so many MiB of memory, every page written
		var keep [][]byte
		for range number(args[0]) {
			b := make([]byte, 1<<20)
			for i := 0; i < len(b); i += 4096 {
				b[i] = byte(i>>12) | 1
			}
			keep = append(keep, b)
		}
		fmt.Println(len(keep))
	case "flood": // so many MiB of output
		b := make([]byte, 1<<20)
		for range number(args[0]) {
			if _, err := os.Stdout.Write(b); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(3)
			}
		}
	case "litter": // so many files
		for i := range number(args[0]) {
			if err := os.WriteFile(fmt.Sprintf("out/%d", i), []byte{1}, 0o644); err != nil {
				fmt.Println(i, err)
				return
			}
		}
	case "escape":
		escape()
	default:
		os.Exit(64)
	}
}

// sink keeps loops from being optimised away.
var sink uint

// escape tries to reach what is not the item's and prints each success.
func escape() {
	for _, name := range []string{"/etc/passwd", "../../../../../../../etc/passwd", "in/../../etc/passwd", "/proc/self/environ", "/dev/null", "//etc/passwd"} {
		if _, err := os.ReadFile(name); err == nil {
			fmt.Println("read", name)
		}
		if err := os.WriteFile(name+".x", nil, 0o644); err == nil {
			fmt.Println("wrote", name)
		}
	}
	if err := os.Symlink("/etc/passwd", "out/link"); err == nil {
		fmt.Println("linked")
	}
	if _, err := net.Dial("tcp", "127.0.0.1:22"); err == nil {
		fmt.Println("dialled")
	}
	if err := exec.Command("/bin/true").Run(); err == nil {
		fmt.Println("executed")
	}
	if _, err := os.FindProcess(1); err == nil {
		if p, _ := os.FindProcess(os.Getppid()); p.Kill() == nil {
			fmt.Println("signalled")
		}
	}
}

func number(s string) int {
	n, err := strconv.Atoi(s)
	check(err)
	return n
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(65)
	}
}
