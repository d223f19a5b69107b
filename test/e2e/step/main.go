// Command step is the container of a step of plugin job in the tests: it logs its arguments, waits, writes
// its outputs, and exits.
package main

import (
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"
)

// terminationLog is the file from which the kubelet reads the termination message.
const terminationLog = "/dev/termination-log"

func main() {
	wait := flag.String("wait", "", "URL to poll until it answers 200")
	code := flag.Int("exit", 0, "exit code")
	flag.Parse()
	for _, line := range flag.Args() {
		fmt.Println(line)
	}
	if *wait != "" {
		await(*wait)
	}
	if *code == 0 {
		if err := record(flag.Args()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(*code)
}

// await returns when the URL answers 200.
func await(url string) {
	ticker := time.NewTicker(200 * time.Millisecond)
	defer ticker.Stop()
	for !open(url) {
		<-ticker.C
	}
}

func open(url string) bool {
	answer, err := http.Get(url)
	if err != nil {
		return false // The network of the Pod may not be ready.
	}
	answer.Body.Close()
	return answer.StatusCode == http.StatusOK
}

func record(outputs []string) error {
	file, err := os.OpenFile(terminationLog, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	for _, output := range outputs {
		if _, err := fmt.Fprintln(file, output); err != nil {
			return err
		}
	}
	return file.Close()
}
