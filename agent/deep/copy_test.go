package deep

import (
	"reflect"
	"testing"
	"time"
)

type leaf struct {
	Name string
	At   time.Time
	In   *[2]int
}

type tree struct {
	Leaf   leaf
	Next   *tree
	List   []leaf
	Bytes  []byte
	Named  map[string]*leaf
	Any    any
	None   map[string]any
	Empty  []string
	hidden int
}

func sample() *tree {
	return &tree{
		Leaf: leaf{"a", time.Unix(7, 0), &[2]int{1, 2}}, Next: &tree{Any: 5}, List: []leaf{{Name: "b"}}, Bytes: []byte("c"),
		Named: map[string]*leaf{"d": {Name: "e"}, "none": nil}, Any: map[string]any{"f": []any{"g", 1.5, nil}}, Empty: []string{}, hidden: 3,
	}
}

// A copy is the same, with nil where nil was and empty where empty was, and
// whatever is done to it leaves what it was made of as it is.
func TestCopy(t *testing.T) {
	was := sample()
	got := Copy(was)
	if !reflect.DeepEqual(got, was) {
		t.Fatalf("%+v, want %+v", got, was)
	}
	got.Leaf.In[0], got.Next.Any, got.List[0].Name, got.Bytes[0] = 9, 9, "x", 'x'
	got.Named["d"].Name = "x"
	got.Named["new"] = nil
	got.Any.(map[string]any)["f"].([]any)[0] = "x"
	got.Any.(map[string]any)["new"] = "x"
	if !reflect.DeepEqual(was, sample()) {
		t.Errorf("it changed along: %+v", was)
	}
	if Copy[any](nil) != nil || Copy[*tree](nil) != nil {
		t.Error("nothing has become something")
	}
}
