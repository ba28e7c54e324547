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
	case "floodfile": // a name, so many MiB into it
		f, err := os.Create(args[0])
		check(err)
		b := make([]byte, 1<<20)
		for range number(args[1]) {
			if _, err := f.Write(b); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(3)
			}
		}
	case "sparse": // a byte far behind the end of a file, in several ways
		sparse(args[0])
	case "hold": // so many open files; prints how many it got
		var held []*os.File
		for range number(args[0]) {
			f, err := os.OpenFile("tmp/held", os.O_CREATE|os.O_RDWR, 0o644)
			if err != nil {
				break
			}
			held = append(held, f)
		}
		fmt.Println(len(held) > 0)
	case "nest": // a folder in a folder, so many times
		path := "out"
		for range number(args[0]) {
			path += "/d"
			if err := os.Mkdir(path, 0o755); err != nil {
				break
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

// sparse prints each way to a terabyte that worked.
func sparse(name string) {
	const far = 1 << 40
	f, err := os.Create(name)
	check(err)
	if _, err := f.WriteAt([]byte{1}, far); err == nil {
		fmt.Println("wrote at")
	}
	if err := f.Truncate(far); err == nil {
		fmt.Println("truncated")
	}
	if _, err := f.Seek(far, io.SeekStart); err == nil {
		if _, err := f.Write([]byte{1}); err == nil {
			fmt.Println("wrote")
		}
	}
	if _, err := f.WriteAt([]byte{1}, 1<<63-1); err == nil {
		fmt.Println("wrote at the end of numbers")
	}
}

// escape tries to reach what is not the item's and prints each success.
func escape() {
	reached := func(err error, what ...any) {
		if err == nil {
			fmt.Println(what...)
		}
	}
	for _, name := range []string{
		"/etc/passwd", "/ETC/passwd", "//etc/passwd", "/./etc/passwd", "/..", "/../etc/passwd", "..", "../../../../../../../etc/passwd",
		"in/../../etc/passwd", "out/../../etc/passwd", "tmp/../../etc/passwd", "out/./../../etc/passwd",
		"/proc/self/environ", "/proc/self/exe", "/proc/self/fd/3", "/proc/self/root/etc/passwd", "/proc/1/mem", "/sys/kernel/notes",
		"/dev/null", "/dev/fd/3", "/dev/mem", "c:\\windows\\win.ini", "\\\\host\\share", "~/.ssh/id_ed25519",
	} {
		_, err := os.ReadFile(name)
		reached(err, "read", name)
		_, err = os.ReadDir(name)
		if name != "/.." && name != ".." { // the root is its own parent
			reached(err, "listed", name)
		}
		reached(os.WriteFile(name+".x", nil, 0o644), "wrote", name)
		reached(os.Remove(name), "removed", name)
		reached(os.Rename("tmp", name), "renamed over", name)
		reached(os.Chdir(name+"/x"), "changed to", name)
	}
	for _, target := range []string{"/etc/passwd", "../../etc/passwd", "../tmp", "."} {
		reached(os.Symlink(target, "out/link"), "linked by symbol to", target)
		reached(os.Link(target, "out/hard"), "linked to", target)
		_, err := os.ReadFile("out/link")
		reached(err, "read a link to", target)
	}
	for _, address := range []string{"127.0.0.1:22", "[::1]:22", "169.254.169.254:80"} {
		_, err := net.Dial("tcp", address)
		reached(err, "dialled", address)
	}
	_, err := net.Dial("unix", "/run/docker.sock")
	reached(err, "dialled a socket")
	for _, name := range []string{"/bin/sh", "/proc/self/exe"} {
		reached(exec.Command(name, "-c", "true").Run(), "executed", name)
	}
	for _, pid := range []int{os.Getppid(), 1, -1} { // its own number ends it, as it should
		if p, err := os.FindProcess(pid); err == nil {
			reached(p.Kill(), "signalled", pid)
		}
	}
	for fd := uintptr(4); fd < 64; fd++ { // 3 is the item's root
		if info, err := os.NewFile(fd, "x").Stat(); err == nil {
			fmt.Println("descriptor", fd, info.Mode())
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
