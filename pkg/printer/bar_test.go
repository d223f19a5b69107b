package printer

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/nodecleanup/kubectl-nodecleanup/pkg/api"
)

func TestBar(t *testing.T) {
	now := time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)
	since := metav1.NewTime(now.Add(-12 * time.Minute))
	for want, counts := range map[string]api.Counts{
		"░░░░░░░░░░ 0/0":                                  {},
		"██████░░░░ 34/50":                                {Done: 34, Total: 50},
		"██████████ 50/50":                                {Done: 50, Total: 50},
		"░░░░░░░░░░ -1/3":                                 {Done: -1, Total: 3},
		"█████░░░░░ 1/2 oldest blocked: shop/cart-0, 12m": {Done: 1, Total: 2, Blocked: "shop/cart-0", BlockedSince: &since},
		"█████░░░░░ 1/2 oldest blocked: shop/cart-0":      {Done: 1, Total: 2, Blocked: "shop/cart-0"},
	} {
		if got := Bar(counts, now); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
