package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strings"
)

// result is one line of output.
type result struct {
	Length   int     `json:"length"`
	Energy   int     `json:"energy"`
	Merit    float64 `json:"merit"`    // length² / (2 × energy), to four places
	Walk     uint64  `json:"walk"`     // that found it
	Sequence string  `json:"sequence"` // hexadecimal, first element highest, 1 for +1, zeros in front up to four bits
}

func resultOf(s sequence, walk uint64) result {
	e := s.energy()
	return result{len(s), e, merit(len(s), e), walk, s.hex()}
}

func merit(length, energy int) float64 {
	return math.Round(float64(length*length)/float64(2*energy)*1e4) / 1e4
}

// hex writes the sequence four elements a digit.
func (s sequence) hex() string {
	var b strings.Builder
	digit := 0
	for i, v := range s {
		digit *= 2
		if v > 0 {
			digit++
		}
		if (len(s)-1-i)%4 == 0 {
			b.WriteByte("0123456789abcdef"[digit])
			digit = 0
		}
	}
	return b.String()
}

// parseHex reads a sequence of a length.
func parseHex(text string, length int) (sequence, error) {
	if length < 1 || length > maxLength || len(text) != (length+3)/4 {
		return nil, fmt.Errorf("%d digits for length %d", len(text), length)
	}
	s := make(sequence, 4*len(text))
	for i, c := range text {
		d := strings.IndexRune("0123456789abcdef", c)
		if d < 0 {
			return nil, fmt.Errorf("%q is no hexadecimal digit", c)
		}
		for k := range 4 {
			s[4*i+k] = int8(d>>(3-k)&1)*2 - 1
		}
	}
	return s[len(s)-length:], nil
}

// mergeResults gives the best of each length, after computing its energy anew.
func mergeResults(in io.Reader, out io.Writer) error {
	best := map[int]result{}
	sc := bufio.NewScanner(in)
	for line := 1; sc.Scan(); line++ {
		if strings.TrimSpace(sc.Text()) == "" {
			continue
		}
		var r result
		if err := json.Unmarshal(sc.Bytes(), &r); err != nil {
			return fmt.Errorf("line %d: %w", line, err)
		}
		s, err := parseHex(r.Sequence, r.Length)
		if err != nil {
			return fmt.Errorf("line %d: sequence: %w", line, err)
		}
		if e := s.energy(); e != r.Energy {
			return fmt.Errorf("line %d: its sequence has the energy %d, it says %d", line, e, r.Energy)
		}
		if old, ok := best[r.Length]; !ok || r.Energy < old.Energy {
			best[r.Length] = r
		}
	}
	if err := sc.Err(); err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, "length,energy,merit,walk,sequence"); err != nil {
		return err
	}
	for _, n := range slices.Sorted(maps.Keys(best)) {
		r := best[n]
		if _, err := fmt.Fprintf(out, "%d,%d,%.4f,%d,%s\n", n, r.Energy, merit(n, r.Energy), r.Walk, r.Sequence); err != nil {
			return err
		}
	}
	return nil
}
