package cluster

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
)

// Ports are below the ranges that Linux (from 32768) and macOS (from 49152) use for outgoing
// connections, so that no connection takes the port of a stopped component.
const (
	firstPort = 20000
	lastPort  = 32000
)

// ports are TCP ports on loopback that no other cluster of this machine takes as long as this process lives, even
// while nothing listens on them.
type ports struct {
	locks []*fileLock
}

// reserve takes n ports that are free now.
func (p *ports) reserve(n int) ([]int, error) {
	cache, err := CacheDir()
	if err != nil {
		return nil, err
	}
	var reserved []int
	for range 100 * n {
		port := firstPort + rand.IntN(lastPort-firstPort)
		held, err := tryLock(filepath.Join(cache, "ports", strconv.Itoa(port)))
		if err != nil {
			return nil, fmt.Errorf("reserving a port: %w", err)
		}
		if held == nil {
			continue
		}
		p.locks = append(p.locks, held)
		if !free(port) {
			continue
		}
		if reserved = append(reserved, port); len(reserved) == n {
			return reserved, nil
		}
	}
	return nil, fmt.Errorf("reserving %d ports: found no more than %d free ones from %d to %d", n, len(reserved), firstPort, lastPort)
}

// release frees the ports for other processes.
func (p *ports) release() error {
	var errs []error
	for _, held := range p.locks {
		errs = append(errs, held.release())
	}
	p.locks = nil
	return errors.Join(errs...)
}

func free(port int) bool {
	listener, err := net.Listen("tcp", address(port))
	if err != nil {
		return false
	}
	return listener.Close() == nil
}

// address returns the address of a port on loopback.
func address(port int) string {
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
}
