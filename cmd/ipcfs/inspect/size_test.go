package inspect

import (
	"math"
	"strings"
	"testing"
)

func TestSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0B", 1: "1B", 1023: "1023B",
		1024: "1K", 1025: "1K", 1075: "1K", 1127: "1.1K", 1536: "1.5K", 10 << 10: "10K", 64 << 10: "64K",
		1<<20 - 1<<10: "1023K", 1 << 20: "1M", 1<<20 + 1: "1M", 3 << 19: "1.5M",
		1 << 30: "1G", 1 << 40: "1T", 1 << 50: "1P", 1<<60 - 1<<50: "1023P", 1 << 60: "1E", 3 << 59: "1.5E", 7 << 60: "7E",
	} {
		if got := Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
}

// TestSizeIsShort: of no size there is more than four digits and one behind the point, so that a column of sizes has one width.
func TestSizeIsShort(t *testing.T) {
	for shift := range 63 {
		for _, d := range []int64{-1, 0, 1} {
			n := int64(1)<<shift + d
			if got := Size(n); len(got) > len("1023.9K") || strings.Count(got, ".") > 1 {
				t.Errorf("Size(%d) = %q", n, got)
			}
		}
	}
	if got := Size(math.MaxInt64); len(got) > len("1023.9K") || !strings.HasSuffix(got, "E") {
		t.Errorf("Size(MaxInt64) = %q", got)
	}
}
