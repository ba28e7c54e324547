package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// optimum tries every sequence of a length; every skew-symmetric one if it is odd.
func optimum(length int) int {
	free, n := length, length/2
	if length%2 == 1 {
		free = n + 1
	}
	best := -1
	s := make(sequence, length)
	for v := range 1 << free {
		for i := range free {
			s[i] = int8(v>>i&1)*2 - 1
		}
		for i := 1; length%2 == 1 && i <= n; i++ {
			s[n+i] = s[n-i]
			if i%2 == 1 {
				s[n+i] = -s[n+i]
			}
		}
		if e := s.energy(); best < 0 || e < best {
			best = e
		}
	}
	return best
}

// TestSearchFindsTheOptimum compares short searches with trying everything.
func TestSearchFindsTheOptimum(t *testing.T) {
	t.Parallel()
	for _, n := range []int{3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 15, 17, 19, 21} {
		if got, want := search(n, 1, 2000).energy(), optimum(n); got != want {
			t.Errorf("length %d: energy %d, the optimum is %d", n, got, want)
		}
	}
}

// TestKnownOptima wants the published optima of some lengths: the Barker sequence of
// 13 elements, and Golay's of 27.
func TestKnownOptima(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]int{13: 6, 27: 37, 41: 108} {
		if got := search(n, 3, 20000).energy(); got != want {
			t.Errorf("length %d: energy %d, published is %d", n, got, want)
		}
	}
}

// TestEnergyIsFollowed compares the energy that a walk follows with the definition.
func TestEnergyIsFollowed(t *testing.T) {
	t.Parallel()
	for _, n := range []int{14, 23, 64, 101} {
		w := newWalk(n, 9)
		w.restart()
		for i := range 200 {
			if want := w.s.energy(); w.energy != want {
				t.Fatalf("length %d, step %d: followed %d, it is %d", n, i, w.energy, want)
			}
			if !w.step() {
				break
			}
		}
	}
}

// TestRunIsAFunction wants the same line for the same numbers, other walks for
// others, and a line that merge takes.
func TestRunIsAFunction(t *testing.T) {
	t.Parallel()
	line := func(walk int) string {
		var b bytes.Buffer
		if err := run([]string{"-length", "51", "-steps", "300", "-walk", fmt.Sprint(walk)}, nil, &b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	one := line(1)
	if one != line(1) || one == line(2) {
		t.Error("a walk does not follow from its number")
	}
	var a, b result
	if json.Unmarshal([]byte(one), &a) != nil || json.Unmarshal([]byte(line(2)), &b) != nil {
		t.Fatal("not a line of JSON")
	}
	var out bytes.Buffer
	if err := run([]string{"-merge"}, strings.NewReader(one+line(2)), &out); err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("\n51,%d,", min(a.Energy, b.Energy))
	if !strings.Contains(out.String(), want) {
		t.Errorf("merged to %q, want %q in it", out.String(), want)
	}
	if err := run([]string{"-merge"}, strings.NewReader(strings.Replace(one, `"energy":`, `"energy":1`, 1)), &out); err == nil {
		t.Error("merge took a wrong energy")
	}
	if err := run([]string{"-length", "2"}, nil, &out); err == nil {
		t.Error("took a length of 2")
	}
}

// TestPublishedTable computes the energies of the table in docs/commons anew.
func TestPublishedTable(t *testing.T) {
	t.Parallel()
	f, err := os.Open("../../docs/commons/low-autocorrelation.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines, err := csv.NewReader(f).ReadAll()
	if err != nil || len(lines) < 2 {
		t.Fatalf("%d lines: %v", len(lines), err)
	}
	for _, l := range lines[1:] {
		length, err1 := strconv.Atoi(l[0])
		energy, err2 := strconv.Atoi(l[1])
		s, err3 := parseHex(l[4], length)
		if err := errors.Join(err1, err2, err3); err != nil || s.energy() != energy {
			t.Errorf("length %s: energy %s is not its sequence's (%v)", l[0], l[1], err)
		}
	}
}

func FuzzHex(f *testing.F) {
	f.Add("1f35", 13)
	f.Fuzz(func(t *testing.T, text string, length int) {
		if s, err := parseHex(text, length); err == nil && len(s) != length {
			t.Errorf("%q of %d gives %d elements", text, length, len(s))
		}
	})
}
