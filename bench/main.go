// Command bench compares Kafka producers: sluice, sarama, franz-go and kafka-go, each in a process of its own against
// a broker that keeps nothing, in interleaved rounds. README.md says what is measured and how.
//
// The program has three lives. The one that a person starts parses the flags, starts the others, and prints the
// tables. "sink" is the broker. "run" is one client in one round.
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
	"strings"
	"syscall"

	"github.com/sluice-kafka/sluice/bench/sink"
)

func main() {
	os.Exit(bench(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// bench chooses among the three lives and returns the exit status: 0, 1 for a failure, 2 for wrong flags, 130 after
// Ctrl-C.
func bench(args []string, in io.Reader, out, problems io.Writer) int {
	if len(args) == 2 && (args[0] == sinkCommand || args[0] == runCommand) {
		return childLife(args[0], args[1], in, out, problems)
	}
	s, err := parse(args, out)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(problems, "bench: %s (-h explains the flags)\n", oneLine(err))
		return 2
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if s.Goals {
		return status(ctx, measureGoals(ctx, s, out, problems), problems)
	}
	fmt.Fprintf(out, "%d records of %d bytes (%s), %d topic(s) of %d partition(s), linger %v, compression %s, %s, %d rounds; %s, %d CPUs\n\n",
		s.Records, s.Size, s.Payload, s.Topics, s.Partitions, s.Linger, s.Compression, broker(s), s.Rounds, runtime.Version(), runtime.NumCPU())
	results, err := rounds(ctx, s, problems)
	if err == nil {
		err = report(out, s, results)
	}
	return status(ctx, err, problems)
}

// status is the exit status after a run, and says what went wrong.
func status(ctx context.Context, err error, problems io.Writer) int {
	switch {
	case ctx.Err() != nil:
		fmt.Fprintln(problems, "bench: interrupted")
		return 130
	case err != nil:
		fmt.Fprintf(problems, "bench: %s\n", oneLine(err))
		return 1
	}
	return 0
}

// oneLine writes joined errors behind each other.
func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

func broker(s settings) string {
	if len(s.Brokers) > 0 {
		return fmt.Sprintf("Kafka at %v", s.Brokers)
	}
	if s.Delay > 0 {
		return fmt.Sprintf("sink with a delay of %v", s.Delay)
	}
	return "sink"
}

// childLife is the life of a child, which gets what it needs as one argument.
func childLife(command, argument string, in io.Reader, out, problems io.Writer) int {
	err := func() error {
		if command == sinkCommand {
			config, err := decode[sink.Config](argument)
			if err != nil {
				return err
			}
			return serve(config, in, out)
		}
		go endWithParent()
		r, err := decode[run](argument)
		if err != nil {
			return err
		}
		res, err := produce(r)
		if err != nil {
			return err
		}
		text, err := encode(res)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintln(out, text)
		return err
	}()
	if err != nil {
		fmt.Fprintln(problems, oneLine(err))
		return 1
	}
	return 0
}
