//go:build !linux

package e2e_test

import (
	"fmt"
	"testing"
)

// TestMain prints why the tests are skipped. Without a file for this system, go test fails with
// "build constraints exclude all Go files".
func TestMain(*testing.M) {
	fmt.Println("skipped: the end-to-end tests need a node, which is Linux with root")
}
