// Command release makes what is published of a version: an archive for each
// platform, their checksums, the manifest for the Krew index, and man pages. The
// same sources give the same bytes.
//
//	go run ./hack/release -version v1.2.3 dist
package main

import (
	"context"
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
	only := flag.Bool("host-only", false, "only the archive of this platform, for a quick look; the Krew manifest needs all")
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

func release(ctx context.Context, version, folder string, hostOnly bool) error {
	if !tagged.MatchString(version) {
		return fmt.Errorf("version %q is not of the form v1.2.3", version)
	}
	if folder == "" {
		return fmt.Errorf("say into which folder")
	}
	chosen := platforms
	if hostOnly {
		chosen = []platform{{runtime.GOOS, runtime.GOARCH}}
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	sums := map[string]string{}
	for _, one := range chosen {
		fmt.Fprintln(os.Stderr, "building", one.archive())
		binary, err := one.build(ctx, version)
		if err != nil {
			return err
		}
		sum, err := one.pack(filepath.Join(folder, one.archive()), binary)
		if err != nil {
			return err
		}
		sums[one.archive()] = sum
	}
	if err := writeChecksums(filepath.Join(folder, "checksums.txt"), sums); err != nil {
		return err
	}
	if hostOnly {
		return nil
	}
	if err := writeKrew("krew/nodecleanup.yaml.tmpl", filepath.Join(folder, "nodecleanup.yaml"), version, sums); err != nil {
		return err
	}
	return run(ctx, nil, "go", "run", "./hack/docs", "-man", filepath.Join(folder, "man"))
}
