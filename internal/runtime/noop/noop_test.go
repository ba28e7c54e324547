package noop_test

import (
	"testing"

	"github.com/gotong-network/gotong/internal/runtime"
	"github.com/gotong-network/gotong/internal/runtime/noop"
	"github.com/gotong-network/gotong/internal/runtime/runtimetest"
	"github.com/gotong-network/gotong/work"
)

func TestLeavesFollowTheInput(t *testing.T) {
	t.Parallel()
	r := noop.New(2)
	var tasks []runtime.Task
	for _, arg := range []string{"a", "b", "a"} {
		tasks = append(tasks, runtime.Task{Program: work.BlobOf([]byte("module")), Profile: "p", Limits: runtimetest.Limits, Item: &work.Item{Args: []string{arg}}})
	}
	got := r.RunMany(t.Context(), tasks)
	for i := range got {
		if got[i].Err != nil {
			t.Fatal(got[i].Err)
		}
		runtimetest.CheckRun(t, tasks[i], got[i].Run)
	}
	if got[0].Run.Leaf != got[2].Run.Leaf || got[0].Run.Leaf.Hash() == got[1].Run.Leaf.Hash() {
		t.Error("the same input must give the same leaf, another input another")
	}
}

func BenchmarkNoop(b *testing.B) {
	r := noop.New(1)
	task := runtime.Task{Program: work.BlobOf([]byte("module")), Profile: "p", Limits: runtimetest.Limits, Item: &work.Item{}}
	for b.Loop() {
		if _, err := r.Run(b.Context(), task); err != nil {
			b.Fatal(err)
		}
	}
}
