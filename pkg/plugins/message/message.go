// Package message fills a Node's properties into texts that operators write.
package message

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// text/template is not used: executing one anywhere makes the linker keep every
// method of every type, and the binary twice as large.
var field = regexp.MustCompile(`\$\{([^}]*)\}`)

// fields are the names that can stand between ${ and }, besides labels.
func fields() map[string]func(*corev1.Node) string {
	return map[string]func(*corev1.Node) string{
		"node.name":       func(node *corev1.Node) string { return node.Name },
		"node.uid":        func(node *corev1.Node) string { return string(node.UID) },
		"node.providerID": func(node *corev1.Node) string { return node.Spec.ProviderID },
	}
}

const label = "node.labels."

// Check returns the fault of a text, or "".
func Check(text string) string {
	for _, match := range field.FindAllStringSubmatch(text, -1) {
		if strings.HasPrefix(match[1], label) && len(match[1]) > len(label) {
			continue
		}
		if known := fields(); known[match[1]] == nil {
			var names []string
			for name := range known {
				names = append(names, "${"+name+"}")
			}
			slices.Sort(names)
			return fmt.Sprintf("has the unknown field %s; there are %s and ${%s<label>}", match[0], strings.Join(names, ", "), label)
		}
	}
	return ""
}

// Expand returns the text with each ${field} replaced. A missing label becomes empty. A field that
// Check rejects is not replaced.
func Expand(text string, node *corev1.Node) string {
	known := fields()
	return field.ReplaceAllStringFunc(text, func(match string) string {
		name := match[2 : len(match)-1]
		if key, is := strings.CutPrefix(name, label); is {
			return node.Labels[key]
		}
		if value := known[name]; value != nil {
			return value(node)
		}
		return match
	})
}
