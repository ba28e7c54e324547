// Command goprog uses what an ordinary Go program uses of its system and prints what it sees. It is the test
// of gw1's host with Go's own WASI port.
package main

import (
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"sync"
	"time"
)

func must[T any](v T, err error) T {
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(3)
	}
	return v
}

func main() {
	fmt.Println("args", os.Args[1:], "env", os.Getenv("WHO"))
	fmt.Println("stdin", string(must(io.ReadAll(os.Stdin))))
	files()
	outputs()
	escapes()
	work()
	os.Exit(7)
}

func files() {
	filepath.WalkDir("/", func(path string, d fs.DirEntry, err error) error {
		fmt.Println("walk", path, d.IsDir(), err)
		return nil
	})
	fmt.Println("relative", string(must(os.ReadFile("in/a.txt"))), "absolute", string(must(os.ReadFile("/in/a.txt"))))
	_, err := os.ReadFile("in/none")
	fmt.Println("missing", errors.Is(err, fs.ErrNotExist))
	fmt.Println("read-only", os.WriteFile("in/a.txt", nil, 0o644) != nil, os.Remove("in/a.txt") != nil, os.Mkdir("new", 0o755) != nil)
}

func outputs() {
	must(0, os.MkdirAll("out/deep/er", 0o755))
	must(0, os.WriteFile("out/deep/er/x.txt", []byte("hello"), 0o644))
	f := must(os.OpenFile("out/deep/er/x.txt", os.O_APPEND|os.O_RDWR, 0))
	must(f.WriteString(" world"))
	must(f.Seek(1, io.SeekStart))
	b := make([]byte, 4)
	must(io.ReadFull(f, b))
	fmt.Printf("seek %q size %d\n", b, must(f.Stat()).Size())
	must(0, f.Truncate(3))
	must(0, f.Close())
	must(0, os.Rename("out/deep/er/x.txt", "out/y.txt"))
	must(0, os.RemoveAll("out/deep"))
	tmp := must(os.CreateTemp("", "scratch"))
	must(tmp.WriteString("gone"))
	must(0, os.Rename(tmp.Name(), "out/from-tmp"))
	for i := range 20 {
		must(0, os.WriteFile(fmt.Sprintf("tmp/%d", i), nil, 0o644))
	}
	must(0, os.RemoveAll("/tmp/x"))
	list := must(os.ReadDir("/tmp"))
	fmt.Println("entries", len(list), sort.SliceIsSorted(list, func(i, j int) bool { return list[i].Name() < list[j].Name() }))
}

func escapes() {
	for _, p := range []string{"../etc/passwd", "/../../etc/passwd", "in/../../x", "/etc/passwd", "/proc/self/maps"} {
		_, err := os.ReadFile(p)
		fmt.Println("escape", p, err != nil)
	}
	fmt.Println("inside", string(must(os.ReadFile("in/../in/a.txt"))), "link", os.Symlink("in", "out/link") != nil)
}

func work() {
	start := time.Now()
	time.Sleep(3 * time.Second)
	fmt.Println("slept", time.Since(start).Round(time.Second), "year", start.Year())
	var wg sync.WaitGroup
	sums := make([]float64, 8)
	for i := range sums {
		wg.Go(func() {
			for k := range 20000 {
				sums[i] += math.Sqrt(float64(k * i))
			}
		})
	}
	wg.Wait()
	m := map[string]int{}
	for _, w := range strings.Fields("the quick brown fox jumps over the lazy dog the end") {
		m[w]++
	}
	nan := math.Float64bits(math.Log(-1) + 0/math.Inf(1)*math.Inf(1))
	r := make([]byte, 8)
	must(rand.Read(r))
	fmt.Println(string(must(json.Marshal(m))), sums)
	fmt.Println("nan", nan, "random", r)
}
