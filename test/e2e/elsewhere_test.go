//go:build !linux

package e2e_test

import (
	"fmt"
	"testing"
)

// TestMain says why there is nothing to run: without a file for this system, go test would
// only say that build constraints exclude all of them, and fail.
func TestMain(*testing.M) {
	fmt.Println("skipped: the end-to-end tests need a node, which is Linux with root")
}
