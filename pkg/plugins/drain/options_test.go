package drain

import (
	"errors"
	"strings"
	"testing"
	"time"

	"k8s.io/utils/clock"
)

func TestOptions(t *testing.T) {
	bound, faults := Descriptor(nil, clock.RealClock{}, nil).Bind([]byte(`{"allowUnmanaged":true,"gracePeriodSeconds":9,"forceAfter":"20m"}`))
	if faults != nil {
		t.Fatal(faults)
	}
	got := bound.(*plugin).options
	if !got.AllowUnmanaged || !got.AllowEmptyDirData || *got.GracePeriodSeconds != 9 || got.ForceAfter.Duration != 20*time.Minute || got.API != auto {
		t.Errorf("options are %+v", got)
	}
	_, faults = Descriptor(nil, clock.RealClock{}, nil).Bind([]byte(`{"gracePeriodSeconds":0,"forceAfter":"-1s","api":"both"}`))
	all := errors.Join(faults...).Error()
	for _, want := range []string{"gracePeriodSeconds: must be at least 1", "forceAfter: must not be negative", `api: is "both", must be auto, eviction, or evictionRequest`} {
		if !strings.Contains(all, want) {
			t.Errorf("%q is missing in %q", want, all)
		}
	}
}
