// Package manifests carries the objects of an install as plain YAML, so that
// the CLI needs no file beside it. The same folder is a Kustomize base.
package manifests

import "embed"

// Base holds base/*.yaml. The resources of base/kustomization.yaml name the
// files in the order in which they are applied.
//
//go:embed base/*.yaml
var Base embed.FS
