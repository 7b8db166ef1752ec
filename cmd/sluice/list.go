package main

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/sluice-kafka/sluice/internal/flow"
)

const listHelp = `Usage: sluice list [flags]

Lists the cluster's brokers and topics, as kcat -L does: of each partition the leader, the replicas, and those in sync
(ISR). With -topic it lists that topic alone. It changes nothing, and creates no topic.

Exit status: 0 if the cluster answered and the topic is there, 1 if not, 2 if the command line was wrong.
`

const listExamples = `Examples:
  sluice list -brokers localhost:9092
  sluice list -brokers localhost:9092 -topic t -json
`

// A listing is what sluice list prints. Its JSON has the names of kcat -L -J.
type listing struct {
	Cluster    string            `json:"cluster,omitempty"`
	Controller int32             `json:"controllerid"`
	Brokers    []listedBroker    `json:"brokers"`
	Topics     []listedTopic     `json:"topics"`
	Query      map[string]string `json:"query"`
}

type listedBroker struct {
	ID   int32  `json:"id"`
	Name string `json:"name"`
	Rack string `json:"rack,omitempty"`
}

type listedTopic struct {
	Topic      string            `json:"topic"`
	Internal   bool              `json:"internal,omitempty"`
	Partitions []listedPartition `json:"partitions"`
	Error      string            `json:"error,omitempty"`
}

type listedPartition struct {
	Partition int32      `json:"partition"`
	Leader    int32      `json:"leader"`
	Replicas  []brokerID `json:"replicas"`
	ISRs      []brokerID `json:"isrs"`
	Error     string     `json:"error,omitempty"`
}

type brokerID struct {
	ID int32 `json:"id"`
}

// list is the command of that name.
func listCluster(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	var f connection
	asJSON := false
	fs := flag.NewFlagSet("list", flag.ContinueOnError)
	f.registerCluster(fs)
	fs.BoolVar(&asJSON, "json", false, "print JSON, with the names of kcat -L -J")
	operands, given, err := parse(fs, args, stdout, listHelp, listExamples)
	if err != nil {
		return err
	}
	if len(operands) > 0 {
		return usagef("%q is one word too many; list has flags only", operands[0])
	}
	s, err := f.settleCluster(given)
	if err != nil {
		return err
	}
	if f.embedded() {
		return usagef("which cluster? -brokers or SLUICE_BROKERS tells; there is no other one to list")
	}
	if f.topic != "" && !legalTopic(f.topic) {
		return notATopic(f.topic)
	}
	con := newConsole(stderr, "sluice list")
	defer f.logTo(con, s)()

	w := newWatch(con)
	defer w.stop()
	c, err := f.cluster(s, w)
	if err != nil {
		return err
	}
	var topics []string
	if f.topic != "" {
		topics = []string{f.topic}
	}
	md, err := c.metadata(ctx, false, topics...)
	if err == nil && f.topic != "" && len(md.Topics) == 1 && sarama.KError(md.Topics[0].ErrorCode) == sarama.ErrUnknownTopicOrPartition {
		err = c.noTopic(ctx, f.topic)
	}
	w.stop()
	if err != nil {
		return err
	}
	l := newListing(md, cmp.Or(f.topic, "*"))
	if asJSON {
		out := json.NewEncoder(stdout)
		out.SetEscapeHTML(false)
		err = out.Encode(l)
	} else {
		_, err = io.WriteString(stdout, l.text())
	}
	if err != nil {
		return fmt.Errorf("stdout: %w", err)
	}
	return nil
}

// address is a broker's, as it is dialled.
func address(b kmsg.MetadataResponseBroker) string {
	return net.JoinHostPort(flow.BrokerText(b.Host), strconv.Itoa(int(b.Port)))
}

// newListing sorts what the brokers answered.
func newListing(md *kmsg.MetadataResponse, query string) *listing {
	l := &listing{Controller: md.ControllerID, Query: map[string]string{"topic": query}, Topics: []listedTopic{}}
	if md.ClusterID != nil {
		l.Cluster = flow.BrokerText(*md.ClusterID)
	}
	for _, b := range md.Brokers {
		broker := listedBroker{ID: b.NodeID, Name: address(b)}
		if b.Rack != nil {
			broker.Rack = flow.BrokerText(*b.Rack)
		}
		l.Brokers = append(l.Brokers, broker)
	}
	for _, t := range md.Topics {
		topic := listedTopic{Internal: t.IsInternal, Error: codeText(t.ErrorCode), Partitions: []listedPartition{}}
		if t.Topic != nil {
			topic.Topic = flow.BrokerText(*t.Topic)
		}
		for _, p := range t.Partitions {
			topic.Partitions = append(topic.Partitions, listedPartition{
				Partition: p.Partition, Leader: p.Leader, Replicas: brokerIDs(p.Replicas), ISRs: brokerIDs(p.ISR), Error: codeText(p.ErrorCode),
			})
		}
		slices.SortFunc(topic.Partitions, func(a, b listedPartition) int { return cmp.Compare(a.Partition, b.Partition) })
		l.Topics = append(l.Topics, topic)
	}
	slices.SortFunc(l.Brokers, func(a, b listedBroker) int { return cmp.Compare(a.ID, b.ID) })
	slices.SortFunc(l.Topics, func(a, b listedTopic) int { return cmp.Compare(a.Topic, b.Topic) })
	return l
}

func codeText(code int16) string {
	if code == 0 {
		return ""
	}
	return readable(flow.External(sarama.KError(code)))
}

func brokerIDs(ids []int32) []brokerID {
	out := make([]brokerID, len(ids))
	for i, id := range ids {
		out[i] = brokerID{id}
	}
	return out
}

func (l *listing) text() string {
	var b strings.Builder
	if l.Cluster != "" {
		fmt.Fprintf(&b, "cluster %s\n", l.Cluster)
	}
	fmt.Fprintf(&b, "%s:\n", plural(len(l.Brokers), "broker"))
	for _, broker := range l.Brokers {
		fmt.Fprintf(&b, "  broker %d at %s", broker.ID, broker.Name)
		if broker.Rack != "" {
			fmt.Fprintf(&b, ", rack %s", broker.Rack)
		}
		if broker.ID == l.Controller {
			b.WriteString(" (controller)")
		}
		b.WriteByte('\n')
	}
	fmt.Fprintf(&b, "%s:\n", plural(len(l.Topics), "topic"))
	for _, t := range l.Topics {
		fmt.Fprintf(&b, "  topic %s with %s%s\n", t.Topic, plural(len(t.Partitions), "partition"), problem(t.Error))
		for _, p := range t.Partitions {
			leader := "no leader"
			if p.Leader >= 0 {
				leader = fmt.Sprintf("leader %d", p.Leader)
			}
			fmt.Fprintf(&b, "    partition %d, %s, replicas %s, in sync %s%s\n", p.Partition, leader, joinIDs(p.Replicas), joinIDs(p.ISRs), problem(p.Error))
		}
	}
	return b.String()
}

func problem(text string) string {
	if text == "" {
		return ""
	}
	return ": " + text
}

func joinIDs(ids []brokerID) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.Itoa(int(id.ID))
	}
	return strings.Join(texts, ",")
}
