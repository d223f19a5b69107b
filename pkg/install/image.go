package install

import (
	"fmt"
	"regexp"
	"strings"
)

// image is the grammar of an image reference: [host[:port]/]path[:tag][@digest]. Only the host may have
// upper case.
var image = func() *regexp.Regexp {
	const part = `[a-z0-9]+(?:(?:\.|_{1,2}|-+)[a-z0-9]+)*`
	return regexp.MustCompile(`^(?:(?:[A-Za-z0-9.-]+|\[[0-9a-fA-F:]+\])(?::[0-9]+)?/)?` + part + `(?:/` + part + `)*(?::\w[\w.-]{0,127})?(?:@[A-Za-z][\w+.-]*:[0-9a-fA-F]+)?$`)
}()

// validateImage refuses what no runtime can pull, such as a placeholder that was pasted.
func validateImage(reference string) error {
	switch {
	case strings.ContainsAny(reference, " \t\n"):
		return fmt.Errorf("image %q: there is white space in it", reference)
	case !image.MatchString(reference):
		return fmt.Errorf("image %q: is not an image reference such as %s:v1.2.3", reference, Repository)
	}
	return nil
}
