// Command release makes what is published of a version: an archive for each platform,
// the images, the Helm chart, the manifests for Kustomize, what each program is made of,
// their checksums, the manifest for the Krew index, and man pages. The same sources give the same bytes.
//
//	go run ./hack/release -version v1.2.3 dist
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
)

func main() {
	version := flag.String("version", "", "version, such as v1.2.3")
	only := flag.String("only", "", `"host": only the archive of this platform, for a quick look; "chart": only the Helm chart`)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := release(ctx, *version, flag.Arg(0), *only); err != nil {
		fmt.Fprintln(os.Stderr, "making the release:", err)
		os.Exit(1)
	}
}

// tagged is what Krew takes for a version.
var tagged = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)

func release(ctx context.Context, version, folder, only string) error {
	if !tagged.MatchString(version) {
		return fmt.Errorf("version %q is not of the form v1.2.3", version)
	}
	if folder == "" {
		return errors.New("parsing arguments: the output folder is missing")
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	switch only {
	case "":
		return everything(ctx, version, folder)
	case "chart":
		return packChart(folder, version)
	case "host":
		made, err := archives(ctx, version, folder, platform{runtime.GOOS, runtime.GOARCH})
		if err != nil {
			return err
		}
		_, err = summed(folder, made)
		return err
	}
	return fmt.Errorf("-only %q is neither host nor chart", only)
}

func everything(ctx context.Context, version, folder string) error {
	made, err := archives(ctx, version, folder, platforms...)
	if err != nil {
		return err
	}
	written, err := images(ctx, folder, version)
	if err != nil {
		return fmt.Errorf("making the images: %w", err)
	}
	if err := packChart(folder, version); err != nil {
		return err
	}
	if err := packManifests(folder, version); err != nil {
		return err
	}
	sums, err := summed(folder, append(append(made, written...), chartArchive(version), manifestsArchive(version)))
	if err != nil {
		return err
	}
	if err := writeKrew("krew/nodecleanup.yaml.tmpl", filepath.Join(folder, "nodecleanup.yaml"), version, sums); err != nil {
		return err
	}
	return nil
}

// manPages writes them into the folder man and returns them for the archives, where they
// are in man/man1, as MANPATH wants it. Krew leaves them in its store.
func manPages(ctx context.Context, folder string) ([]file, error) {
	folder = filepath.Join(folder, "man")
	if err := run(ctx, nil, nil, nil, "go", "run", "./hack/docs", "-man", folder); err != nil {
		return nil, fmt.Errorf("writing the man pages: %w", err)
	}
	names, err := filepath.Glob(filepath.Join(folder, "*.1"))
	if err != nil {
		return nil, err
	}
	var pages []file
	for _, name := range names {
		content, err := os.ReadFile(name)
		if err != nil {
			return nil, err
		}
		pages = append(pages, file{"man/man1/" + filepath.Base(name), 0o644, content})
	}
	return pages, nil
}

// archives builds and packs the CLI for platforms, says what each program is made of,
// and returns the names of the files.
func archives(ctx context.Context, version, folder string, chosen ...platform) ([]string, error) {
	man, err := manPages(ctx, folder)
	if err != nil {
		return nil, err
	}
	var made []string
	for _, one := range chosen {
		fmt.Fprintln(os.Stderr, "building", one.archive())
		binary, err := one.build(ctx, version)
		if err != nil {
			return nil, err
		}
		if err := one.pack(filepath.Join(folder, one.archive()), binary, man); err != nil {
			return nil, err
		}
		bill := one.name() + ".cdx.json"
		if err := one.describe(ctx, filepath.Join(folder, bill), binary, version); err != nil {
			return nil, fmt.Errorf("describing %s: %w", one.archive(), err)
		}
		made = append(made, one.archive(), bill)
	}
	return made, nil
}

// summed writes the checksums of files and returns them.
func summed(folder string, names []string) (map[string]string, error) {
	sums, err := checksums(folder, names)
	if err != nil {
		return nil, err
	}
	return sums, writeChecksums(filepath.Join(folder, "checksums.txt"), sums)
}
