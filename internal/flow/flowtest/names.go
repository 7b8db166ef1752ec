package flowtest

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// Message is the message that scripts call by that number.
func Message(n int) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder(strconv.Itoa(n))}
}

// Number is the inverse of Message.
func Number(msg *sarama.ProducerMessage) int {
	n, err := strconv.Atoi(string(msg.Value.(sarama.StringEncoder)))
	if err != nil {
		panic(err)
	}
	return n
}

// Range reads "3" or "1..3".
func Range(s string) (numbers []int) {
	from, to, more := strings.Cut(s, "..")
	if !more {
		to = from
	}
	first, err1 := strconv.Atoi(from)
	last, err2 := strconv.Atoi(to)
	if err1 != nil || err2 != nil {
		panic(fmt.Sprintf("%q is no range of numbers", s))
	}
	for n := first; n <= last; n++ {
		numbers = append(numbers, n)
	}
	return numbers
}

// Numbers prints records as ranges, in their order: "1..3 5".
func Numbers(recs []flow.Record) string {
	var parts []string
	for i := 0; i < len(recs); {
		first := Number(recs[i].Msg)
		n := 1
		for i+n < len(recs) && Number(recs[i+n].Msg) == first+n {
			n++
		}
		if n == 1 {
			parts = append(parts, strconv.Itoa(first))
		} else {
			parts = append(parts, fmt.Sprintf("%d..%d", first, first+n-1))
		}
		i += n
	}
	return strings.Join(parts, " ")
}

// Option returns the value of "name=value" among args, or otherwise.
func Option(args []string, name, otherwise string) string {
	for _, arg := range args {
		if value, ok := strings.CutPrefix(arg, name+"="); ok {
			return value
		}
	}
	return otherwise
}
