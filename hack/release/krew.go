package main

import (
	"fmt"
	"os"
	"path"
	"strings"
	"text/template"
)

// writeKrew fills the template of the Krew manifest in, as the bot of the Krew
// index does: {{ .TagName }}, and addURIAndSha with the checksum of the archive.
func writeKrew(from, to, version string, sums map[string]string) error {
	text, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	parsed, err := template.New("krew").Option("missingkey=error").Funcs(template.FuncMap{
		"addURIAndSha": func(address, tag string) (string, error) {
			address = strings.ReplaceAll(address, "{{ .TagName }}", tag)
			sum, found := sums[path.Base(address)]
			if !found {
				return "", fmt.Errorf("there is no archive %s", path.Base(address))
			}
			return fmt.Sprintf("uri: %s\n    sha256: %q", address, sum), nil
		},
	}).Parse(string(text))
	if err != nil {
		return err
	}
	var filled strings.Builder
	if err := parsed.Execute(&filled, map[string]string{"TagName": version}); err != nil {
		return fmt.Errorf("filling in %s: %w", from, err)
	}
	// Its first lines are about the template.
	manifest := filled.String()
	for strings.HasPrefix(manifest, "#") {
		_, manifest, _ = strings.Cut(manifest, "\n")
	}
	return os.WriteFile(to, []byte(manifest), 0o644)
}
