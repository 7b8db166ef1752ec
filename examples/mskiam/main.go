// Command mskiam produces to Amazon MSK with IAM: it sends the lines of standard input over TLS, logged in with tokens that
// are signed with the credentials of AWS. Without flags it sends three lines to a Kafka within the process. It is a module of its own, so that AWS's libraries are in no other program.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"strings"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

func main() {
	brokers := flag.String("brokers", "", "the cluster's bootstrap brokers for IAM (port 9098, or 9198 from outside), comma-separated; "+
		"without it: a Kafka in this process, and nobody's credentials")
	topic := flag.String("topic", "my-topic", "the topic to write to")
	region := flag.String("region", os.Getenv("AWS_REGION"), "the cluster's region")
	flag.Parse()
	if *brokers == "" {
		if err := demonstrate(*topic, os.Stdout); err != nil {
			log.Fatalln(err)
		}
		return
	}
	if *region == "" {
		flag.Usage()
		os.Exit(2)
	}

	conf, err := newConfig(context.Background(), *region)
	if err != nil {
		log.Fatalln(err)
	}
	conf.Net.TLS.Enable = true
	if err := run(strings.Split(*brokers, ","), *topic, conf, os.Stdin, os.Stdout); err != nil {
		log.Fatalln(err)
	}
}

// demonstrate does without AWS, and without TLS.
func demonstrate(topic string, out io.Writer) error {
	cluster, _, err := startEmbedded(topic)
	if err != nil {
		return err
	}
	defer cluster.Close()
	useNobodysCredentials()
	conf, err := newConfig(context.Background(), "eu-central-1")
	if err != nil {
		return err
	}
	return run(cluster.ListenAddrs(), topic, conf, strings.NewReader("one\ntwo\nthree\n"), out)
}

// newConfig is for any client of sarama's, too.
func newConfig(ctx context.Context, region string) (*sarama.Config, error) {
	tokens, err := newTokens(ctx, region)
	if err != nil {
		return nil, err
	}
	conf := sluice.NewConfig()
	conf.Net.SASL.Enable = true
	conf.Net.SASL.Mechanism = sarama.SASLTypeOAuth
	conf.Net.SASL.TokenProvider = tokens
	return conf, nil
}

func run(brokers []string, topic string, conf *sarama.Config, in io.Reader, out io.Writer) (err error) {
	producer, err := sluice.New(brokers, conf)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, producer.Close()) }()

	lines := bufio.NewScanner(in)
	for lines.Scan() {
		partition, offset, err := producer.SendMessage(&sarama.ProducerMessage{Topic: topic, Value: sarama.StringEncoder(lines.Text())})
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s/%d/%d\n", topic, partition, offset)
	}
	return lines.Err()
}
