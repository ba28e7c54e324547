// Command gomark is the Go program of the rows overhead_go and start_go, built for
// wasip1: it sorts, counts words in a map, matches an expression, packs and
// unpacks, hashes, and goes through JSON, all with the standard library and
// garbage. It prints a checksum of all of it.
package main

import (
	"bytes"
	"compress/flate"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// record is a line of the made-up data.
type record struct {
	Name   string            `json:"name"`
	Count  int               `json:"count"`
	Share  float64           `json:"share"`
	Labels map[string]string `json:"labels"`
}

var pattern = regexp.MustCompile(`([a-z]+)-(\d+)`)

func main() {
	rounds := 1
	if len(os.Args) > 1 {
		rounds, _ = strconv.Atoi(os.Args[1])
	}
	sum := sha256.New()
	for i := range rounds {
		if err := round(i, sum); err != nil {
			fmt.Fprintln(os.Stderr, "gomark:", err)
			os.Exit(1)
		}
	}
	fmt.Printf("%x\n", sum.Sum(nil))
}

func round(seed int, sum io.Writer) error {
	text := words(seed)
	counts := map[string]int{}
	for _, w := range strings.Fields(text) {
		counts[w]++
	}
	var all []record
	for w, n := range counts {
		m := pattern.FindStringSubmatch(w)
		if m == nil {
			return fmt.Errorf("word %q", w)
		}
		all = append(all, record{Name: w, Count: n, Share: float64(n) / float64(len(counts)), Labels: map[string]string{m[1]: m[2]}})
	}
	slices.SortFunc(all, func(a, b record) int {
		if a.Count != b.Count {
			return b.Count - a.Count
		}
		return strings.Compare(a.Name, b.Name)
	})
	doc, err := json.Marshal(all)
	if err != nil {
		return err
	}
	packed, err := pack(doc)
	if err != nil {
		return err
	}
	again, err := io.ReadAll(flate.NewReader(bytes.NewReader(packed)))
	if err != nil {
		return err
	}
	var back []record
	if err := json.Unmarshal(again, &back); err != nil {
		return err
	}
	fmt.Fprintln(sum, len(back), len(packed), back[0].Name, back[len(back)/2].Labels)
	_, err = sum.Write(doc)
	return err
}

// words is a text of a few thousand made-up words.
func words(seed int) string {
	stems := []string{"work", "proof", "block", "stone", "lesung", "padi", "river", "cloud"}
	var b strings.Builder
	x := uint32(seed)*2654435761 + 1
	for range 4000 {
		x ^= x << 13
		x ^= x >> 17
		x ^= x << 5
		fmt.Fprintf(&b, "%s-%d ", stems[x%uint32(len(stems))], (x>>8)%200)
	}
	return b.String()
}

func pack(b []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := flate.NewWriter(&out, flate.DefaultCompression)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(b); err != nil {
		return nil, err
	}
	err = w.Close()
	return out.Bytes(), err
}
