package install

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/dynamic"

	cli "github.com/nodecleanup/kubectl-nodecleanup/pkg/version"
)

// optionsKey is the key of the install options in the inventory.
const optionsKey = "options.json"

// PreviousOptions are the options of an install that the next one is to have too: they need not be typed
// again.
type PreviousOptions struct {
	// Version of the CLI that installed.
	Version   string            `json:"version,omitempty"`
	Image     string            `json:"image,omitempty"`
	Admission Admission         `json:"admission,omitempty"`
	Set       map[string]string `json:"set,omitempty"`
	// Kustomized: a kustomization, which is not kept, built upon the rest.
	Kustomized bool `json:"kustomized,omitempty"`
}

func (o Options) toStore() PreviousOptions {
	return PreviousOptions{Version: cli.Version, Image: o.Image, Admission: o.Admission, Set: o.Set, Kustomized: o.Kustomization != ""}
}

// ReadPreviousOptions returns the options of the previous install in a namespace. They are empty
// if there is none, or if it was made in another way.
func ReadPreviousOptions(ctx context.Context, objects dynamic.Interface, namespace string) (PreviousOptions, error) {
	var stored PreviousOptions
	live, err := kindNamed("ConfigMap").client(objects, namespace).Get(ctx, inventoryName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return stored, nil
	}
	if err != nil {
		return stored, fmt.Errorf("reading the options of the install before: %w", err)
	}
	data, found, err := unstructured.NestedString(live.Object, "data", optionsKey)
	if err == nil && found {
		err = json.Unmarshal([]byte(data), &stored)
	}
	if err != nil {
		return stored, fmt.Errorf("reading the options of the install before in configmap %s/%s: %w", namespace, inventoryName, err)
	}
	return stored, nil
}

// Newer reports whether the install was made by a newer version than this CLI.
func (g PreviousOptions) Newer() bool {
	installed, err := version.ParseSemantic(g.Version)
	if err != nil {
		return false // There is none, or one that says nothing.
	}
	mine, err := version.ParseSemantic(cli.Version)
	return err == nil && mine.LessThan(installed)
}

// Complete fills unset options from the previous install, and describes these for the user.
func (g PreviousOptions) Complete(options Options) (Options, []string) {
	var kept []string
	if options.Image == "" && g.Image != "" && validateImage(g.Image) == nil && options.AgentURL == "" {
		options.Image = g.image()
		kept = append(kept, "--image "+options.Image)
	}
	if options.Admission == "" && g.Admission != "" {
		options.Admission = g.Admission
		kept = append(kept, "--admission "+string(g.Admission))
	}
	set := maps.Clone(options.Set)
	for _, key := range slices.Sorted(maps.Keys(g.Set)) {
		if _, found := set[key]; found {
			continue
		}
		if known, found := settingNamed(key); !found || options.AgentURL != "" && known.kind == "Deployment" {
			continue
		}
		if set == nil {
			set = map[string]string{}
		}
		set[key] = g.Set[key]
		kept = append(kept, "--set "+key+"="+g.Set[key])
	}
	options.Set = set
	return options, kept
}

// image returns the image of the previous install. If that is a mirror at the version of the
// previous CLI, it returns the mirror at this CLI's version.
func (g PreviousOptions) image() string {
	if mirror, was := strings.CutSuffix(g.Image, ":"+g.Version); was {
		return mirror + ":" + cli.Version
	}
	return g.Image
}
