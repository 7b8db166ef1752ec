// Command sluice writes to Kafka from the command line: lines of text with produce, and a measured load with perf. It lists
// what a cluster has with list, and proves on it what the library promises with verify.
// "sluice -h" explains itself.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"strings"
	"syscall"

	"github.com/sluice-kafka/sluice/internal/suggest"
)

// What the process ends with.
const (
	statusDone   = 0 // every message was delivered
	statusFailed = 1 // a message was not, or there was nothing to deliver it to, or an input could not be read
	statusUsage  = 2 // the command line was wrong; nothing was sent
)

const mainHelp = `Sluice writes to Kafka from the command line.

Usage:
  sluice produce [flags] [FILE...]   each line of the files, or of standard input, is a message
  sluice list [flags]                lists a cluster's brokers and topics
  sluice perf [flags]                sends a load and measures throughput and latency
  sluice verify [flags]              cuts the producer's connections, reads back, and reports what is lost or duplicated
  sluice version                     tells what this was built from
  sluice help [COMMAND]              as sluice COMMAND -h
  sluice -P|-L [flags]               as kcat has them: sluice -P -b localhost -t events -K : <lines
  sluice help config                 lists Kafka's settings, which -F and -config take

$SLUICE_BROKERS stands for -brokers, and $SLUICE_CONFIG for -F, a file of Kafka's settings: brokers, TLS, a login. Without
brokers produce, perf and verify start a Kafka of their own inside the process, so they need nothing else:
  sluice produce README.md
  sluice perf -records 1000000 -size 100

Exit status: 0 if every message was delivered, 1 if not, 2 if the command line was wrong.
`

func main() {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // as nohup has it
		signal.Notify(signals, syscall.SIGHUP)
	}
	ctx, i := newInterrupts(context.Background())
	go i.watch(signals, os.Exit)
	status := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
	os.Exit(i.status(status))
}

// run is the whole program but for signals and the exit: ctx ends at the first interrupt. It returns the exit status.
func run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) == 0 {
		fmt.Fprintln(stderr, "sluice: which command? produce, list, perf, verify, version or help; sluice -h explains them")
		return statusUsage
	}
	name, rest := args[0], args[1:]
	switch name {
	case "help":
		if len(rest) > 0 && rest[0] == "config" {
			return helpConfig(stdout, stderr)
		}
		if len(rest) > 0 {
			return run(ctx, []string{rest[0], "-h"}, stdin, stdout, stderr)
		}
		fallthrough
	case "-h", "-help", "--help":
		io.WriteString(stdout, mainHelp)
		return statusDone
	case "version", "-version", "--version":
		if len(rest) > 0 && isHelp(rest[0]) {
			fmt.Fprintln(stdout, "sluice version tells the module's version, its revision and the Go release it was built with.")
			return statusDone
		}
		fmt.Fprintln(stdout, version())
		return statusDone
	case "produce":
		return exit(stderr, "sluice produce", produce(ctx, rest, stdin, stdout, stderr))
	case "list":
		return exit(stderr, "sluice list", listCluster(ctx, rest, stdout, stderr))
	case "perf":
		return exit(stderr, "sluice perf", perf(ctx, rest, stdout, stderr))
	case "verify":
		return exit(stderr, "sluice verify", verify(ctx, rest, stdout, stderr))
	}
	if strings.HasPrefix(name, "-") {
		translated, err := fromKcat(args)
		if err != nil {
			return exit(stderr, "sluice", err)
		}
		return run(ctx, translated, stdin, stdout, stderr)
	}
	hint := ""
	if near := suggest.Nearest(name, []string{"produce", "list", "perf", "verify", "version", "help"}); len(near) > 0 {
		hint = "; did you mean " + near[0] + "?"
	}
	fmt.Fprintf(stderr, "sluice: there is no command %q%s (sluice -h lists them)\n", name, hint)
	return statusUsage
}

func isHelp(arg string) bool { return arg == "-h" || arg == "-help" || arg == "--help" }

// A usageError is the caller's mistake on the command line, found before anything was sent.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// errReported ends a command with statusFailed when stderr has already said why.
var errReported = errors.New("already reported")

// exit turns a command's error into one line on stderr and the exit status.
func exit(stderr io.Writer, command string, err error) int {
	con := newConsole(stderr, command)
	_, usage := errors.AsType[usageError](err)
	switch {
	case err == nil, errors.Is(err, flag.ErrHelp):
		return statusDone
	case errors.Is(err, errReported):
		return statusFailed
	case usage:
		con.errorf("%s (%s -h explains)", goNames.ReplaceAllString(err.Error(), "$1: $2"), command)
		return statusUsage
	}
	con.errorf("%s", explained(err))
	return statusFailed
}

func version() string {
	release, revision := "(devel)", ""
	if info, ok := debug.ReadBuildInfo(); ok {
		if info.Main.Version != "" {
			release = info.Main.Version
		}
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" {
				revision = " " + s.Value
			}
		}
	}
	return fmt.Sprintf("sluice %s%s %s %s/%s", release, revision, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
