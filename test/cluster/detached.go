package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// DirOf returns the directory of the detached cluster of that name, below the cache directory.
func DirOf(name string) (string, error) {
	if !regexp.MustCompile(`^[a-z0-9][a-z0-9.-]*$`).MatchString(name) {
		return "", fmt.Errorf("the name of a cluster is small letters, digits, - and .; not %q", name)
	}
	clusters, err := clustersDir()
	return filepath.Join(clusters, name), err
}

// Names returns the detached clusters, including those that ended without being stopped.
func Names() ([]string, error) {
	clusters, err := clustersDir()
	if err != nil {
		return nil, err
	}
	states, err := filepath.Glob(filepath.Join(clusters, "*", stateFile))
	if err != nil {
		return nil, err
	}
	var names []string
	for _, path := range states {
		names = append(names, filepath.Base(filepath.Dir(path)))
	}
	return names, nil
}

// Up returns the detached cluster of that name, which keeps running when this process ends. It
// reuses a running cluster, and starts those of the Options' components that are stopped. It
// replaces the cluster only if its API server or etcd is unavailable, after a crash or a reboot.
// Up sets Options.Dir and Options.Detached.
func Up(ctx context.Context, options Options) (*Cluster, error) {
	return named(ctx, options, func(c *Cluster) (bool, error) {
		if !c.serves(ctx) {
			fmt.Fprintf(c.out, "Cluster %s does not respond; replacing it\n", options.Name)
			return false, nil
		}
		fmt.Fprintf(c.out, "Cluster %s is up already\n", options.Name)
		return true, c.startMissing(ctx, options)
	})
}

// Replace is Up, except that it replaces a running cluster of that name by a new one.
func Replace(ctx context.Context, options Options) (*Cluster, error) {
	return named(ctx, options, func(c *Cluster) (bool, error) {
		fmt.Fprintf(c.out, "Ending the cluster %s that is up\n", options.Name)
		return false, nil
	})
}

// named returns the detached cluster of that name: the running one if keep returns true, otherwise
// a new one. It holds a lock, so that no other process starts or stops the cluster at the same time.
func named(ctx context.Context, options Options, keep func(*Cluster) (bool, error)) (*Cluster, error) {
	if options.Output == nil {
		options.Output = io.Discard
	}
	dir, err := DirOf(options.Name)
	if err != nil {
		return nil, err
	}
	options.Dir, options.Detached = dir, true
	held, err := lock(ctx, dir+".lock", func() {
		fmt.Fprintf(options.Output, "Another process starts or stops cluster %s; waiting for it\n", options.Name)
	})
	if err != nil {
		return nil, err
	}
	defer held.release()
	c, err := Open(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		c.out = options.Output
		if kept, err := keep(c); kept {
			return c, err
		}
		if err := c.Stop(ctx); err != nil {
			return nil, err
		}
	}
	if err := os.RemoveAll(dir); err != nil {
		return nil, fmt.Errorf("removing the rest of cluster %s: %w", options.Name, err)
	}
	return New(ctx, options)
}

// Down stops the cluster of that name with all its processes, and removes its directory. It returns false if
// there is no such cluster.
func Down(ctx context.Context, name string) (bool, error) {
	dir, err := DirOf(name)
	if err != nil {
		return false, err
	}
	held, err := lock(ctx, dir+".lock", nil)
	if err != nil {
		return false, err
	}
	defer held.release()
	c, err := Open(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return false, os.RemoveAll(dir)
	}
	if err != nil {
		return false, err
	}
	return true, errors.Join(c.Stop(ctx), os.RemoveAll(dir))
}

// serves reports whether the API server responds and can reach etcd.
func (c *Cluster) serves(ctx context.Context) bool {
	return c.Component(Etcd).Healthy(ctx) == nil && c.Component(APIServer).Healthy(ctx) == nil
}

func (c *Cluster) startMissing(ctx context.Context, options Options) error {
	for _, name := range options.wanted() {
		if p := c.Component(name); !p.Running() {
			fmt.Fprintf(c.out, "Starting %s\n", name)
			if err := p.Start(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

func clustersDir() (string, error) {
	cache, err := CacheDir()
	return filepath.Join(cache, "clusters"), err
}
