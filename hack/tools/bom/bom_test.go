package bom_test

import (
	"bytes"
	"debug/buildinfo"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/nodecleanup/kubectl-nodecleanup/hack/tools/bom"
)

const version = "v1.2.3"

// compiled returns this module's own sbom program: one with modules in it.
func compiled(t *testing.T) []byte {
	t.Helper()
	path := filepath.Join(t.TempDir(), "sbom")
	if said, err := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-o", path, "../sbom").CombinedOutput(); err != nil {
		t.Fatalf("building a program: %v\n%s", err, said)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

func TestDocumentListsEveryModule(t *testing.T) {
	program := compiled(t)
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil || len(info.Deps) == 0 {
		t.Fatalf("%d modules, %v", len(info.Deps), err)
	}
	text, err := bom.Of(program, "sbom", version)
	if err != nil {
		t.Fatal(err)
	}
	var document cdx.BOM
	if err := json.Unmarshal(text, &document); err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, component := range *document.Components {
		named = append(named, component.PackageURL)
	}
	want := []string{"pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go")}
	for _, module := range info.Deps {
		want = append(want, "pkg:golang/"+module.Path+"@"+module.Version)
	}
	if !slices.Equal(named, want) {
		t.Errorf("components %q, want %q", named, want)
	}
	if got, want := document.Metadata.Component.PackageURL, info.Main.Path+"@"+version; !strings.Contains(got, want) || !strings.HasSuffix(got, "#sbom") {
		t.Errorf("the document is about %s, want %s", got, want)
	}
}

func TestDocumentIsReproducible(t *testing.T) {
	program := compiled(t)
	first, err := bom.Of(program, "sbom", version)
	if err != nil {
		t.Fatal(err)
	}
	second, err := bom.Of(program, "sbom", version)
	if err != nil || !bytes.Equal(first, second) {
		t.Errorf("two documents of one program differ, error %v", err)
	}
}

// The schema is the one of CycloneDX, as the library brings it along.
func TestDocumentIsValid(t *testing.T) {
	text, err := bom.Of(compiled(t), "sbom", version)
	if err != nil {
		t.Fatal(err)
	}
	schema := cycloneDX(t)
	if err := schema.Validate(decoded(t, text)); err != nil {
		t.Error(err)
	}
	// It is one that refuses.
	if err := schema.Validate(decoded(t, bytes.Replace(text, []byte(`"library"`), []byte(`"libary"`), 1))); err == nil {
		t.Error("a component of no known type is valid")
	}
}

func TestOtherFilesAreAnError(t *testing.T) {
	if _, err := bom.Of([]byte("#!/bin/sh"), "script", version); err == nil || !strings.Contains(err.Error(), "script") {
		t.Errorf("got %v, want an error that names it", err)
	}
}

func cycloneDX(t *testing.T) *jsonschema.Schema {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/CycloneDX/cyclonedx-go").Output()
	if err != nil {
		t.Fatalf("finding CycloneDX's schema: %v", err)
	}
	files, err := fs.Sub(os.DirFS(strings.TrimSpace(string(out))), "schema")
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	for _, name := range []string{"bom-" + bom.Spec.String() + ".schema.json", "spdx.schema.json", "jsf-0.82.schema.json"} {
		on := name
		if name == "jsf-0.82.schema.json" {
			on = "jsf-0.82.schemax.json" // its name in the library
		}
		file, err := fs.ReadFile(files, on)
		if err != nil {
			t.Fatal(err)
		}
		if err := compiler.AddResource("http://cyclonedx.org/schema/"+name, decoded(t, file)); err != nil {
			t.Fatal(err)
		}
	}
	schema, err := compiler.Compile("http://cyclonedx.org/schema/bom-" + bom.Spec.String() + ".schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

func decoded(t *testing.T, text []byte) any {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return document
}
