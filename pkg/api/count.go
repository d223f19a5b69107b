package api

import "fmt"

// Count returns a number with its noun, such as "1 pod" or "3 pods".
func Count(number int, noun string) string {
	if number != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", number, noun)
}
