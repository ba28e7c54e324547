package field

import (
	"strings"
	"testing"

	"github.com/cosmos/cosmos-sdk/types/bech32"

	"github.com/gotong-network/gotong/work"
)

func TestAccount(t *testing.T) {
	t.Parallel()
	good, err := bech32.ConvertAndEncode("gotong", make([]byte, 20))
	if err != nil {
		t.Fatal(err)
	}
	if a, err := Account(good); err != nil || string(a) != good {
		t.Errorf("%s: %v", good, err)
	}
	foreign, err := bech32.ConvertAndEncode("cosmos", make([]byte, 20))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []string{"", "gotong1", strings.ToUpper(good), good + " ", good[:len(good)-1], foreign, strings.Repeat("g", 1<<16)} {
		if _, err := Account(s); err == nil {
			t.Errorf("%.60q was taken for an account", s)
		}
	}
}

// Whatever is accepted is the one spelling of its bytes.
func FuzzAccount(f *testing.F) {
	good, _ := bech32.ConvertAndEncode("gotong", make([]byte, 20))
	f.Add(good)
	f.Add("GOTONG1QQQ")
	f.Fuzz(func(t *testing.T, s string) {
		b, err := AccountBytes(work.Address(s))
		if err != nil {
			return
		}
		if again, err := bech32.ConvertAndEncode("gotong", b); err != nil || again != s {
			t.Errorf("%q and %q are one account", s, again)
		}
	})
}
