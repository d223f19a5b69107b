// Package bom tells what a Go program is made of, as a CycloneDX document: the modules
// that the linker has written into it, and nothing that was guessed from sources.
package bom

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// Spec is the version of CycloneDX that documents are written in.
const Spec = cdx.SpecVersion1_6

// Of returns the document, in JSON, of a program that go build has made. name and
// version are what it is released as. The same program gives the same bytes: the
// document has no time, and its serial number is made of the program's checksum. Its
// error is that of a file that is not a Go program.
func Of(program []byte, name, version string) ([]byte, error) {
	info, err := buildinfo.Read(bytes.NewReader(program))
	if err != nil {
		return nil, fmt.Errorf("reading what %s was built of: %w", name, err)
	}
	sum := sha256.Sum256(program)
	document := cdx.NewBOM()
	document.SerialNumber = serial(sum)
	document.Metadata = &cdx.Metadata{Component: subject(info, name, version, hex.EncodeToString(sum[:]))}
	parts := components(info)
	document.Components = &parts
	// Which module needs which is not in the program. Without this, a reader would take
	// an absent list of dependencies for an empty one.
	document.Compositions = &[]cdx.Composition{{
		Aggregate: cdx.CompositionAggregateUnknown, Dependencies: &[]cdx.BOMReference{cdx.BOMReference(document.Metadata.Component.BOMRef)},
	}}
	var out bytes.Buffer
	encoder := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).SetEscapeHTML(false)
	if err := encoder.EncodeVersion(document, Spec); err != nil {
		return nil, fmt.Errorf("writing the document of %s: %w", name, err)
	}
	return out.Bytes(), nil
}

// serial is a UUID, version 8 (of one's own making, RFC 9562), of a checksum.
func serial(sum [sha256.Size]byte) string {
	id := sum[:16]
	id[6], id[8] = id[6]&0x0f|0x80, id[8]&0x3f|0x80
	return fmt.Sprintf("urn:uuid:%x-%x-%x-%x-%x", id[:4], id[4:6], id[6:8], id[8:10], id[10:])
}

func subject(info *debug.BuildInfo, name, version, sum string) *cdx.Component {
	// A package URL of type golang names the platform in qualifiers, which are sorted.
	url := fmt.Sprintf("pkg:golang/%s@%s?goarch=%s&goos=%s", info.Main.Path, version, setting(info, "GOARCH"), setting(info, "GOOS"))
	if inside := strings.TrimPrefix(info.Path, info.Main.Path+"/"); inside != info.Path {
		url += "#" + inside
	}
	return &cdx.Component{
		Type: cdx.ComponentTypeApplication, BOMRef: url, Name: name, Version: version, PackageURL: url,
		Hashes:   &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: sum}},
		Licenses: &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
	}
}

// components returns the modules, in the order of the program, and the standard library,
// which has most of the vulnerabilities.
func components(info *debug.BuildInfo) []cdx.Component {
	version := strings.TrimPrefix(info.GoVersion, "go")
	// Experiments are named after a space: "go1.26.8 X:nodwarf5".
	version, _, _ = strings.Cut(version, " ")
	all := []cdx.Component{library("std", version, "")}
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		all = append(all, library(module.Path, module.Version, module.Sum))
	}
	return all
}

func library(path, version, sum string) cdx.Component {
	url := "pkg:golang/" + path + "@" + version
	component := cdx.Component{Type: cdx.ComponentTypeLibrary, BOMRef: url, Name: path, Version: version, PackageURL: url}
	if sum != "" {
		// What go.sum holds is a hash of hashes: no checksum of a file.
		component.Properties = &[]cdx.Property{{Name: "go:sum", Value: sum}}
	}
	return component
}

func setting(info *debug.BuildInfo, key string) string {
	for _, one := range info.Settings {
		if one.Key == key {
			return one.Value
		}
	}
	return ""
}
