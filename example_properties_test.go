package sluice_test

import (
	"fmt"

	"github.com/sluice-kafka/sluice"
)

func ExampleConfigFromProperties() {
	props := map[string]string{ // from a file, a secret's mount, the environment
		"linger.ms":         "20",
		"compression.type":  "zstd",
		"security.protocol": "SASL_SSL",
		"sasl.mechanism":    "SCRAM-SHA-512",
		"sasl.jaas.config":  `org.apache.kafka.common.security.scram.ScramLoginModule required username="alice" password="secret";`,
	}
	conf, opts, err := sluice.ConfigFromProperties(props)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(conf.Producer.Flush.Frequency, conf.Producer.Compression, conf.Net.SASL.Mechanism, conf.Net.SASL.User, len(opts))
	// producer, err := sluice.New([]string{"localhost:9092"}, conf, opts...)

	_, _, err = sluice.ConfigFromProperties(map[string]string{"lingr.ms": "20"})
	fmt.Println(err)
	// Output:
	// 20ms zstd SCRAM-SHA-512 alice 0
	// sluice: lingr.ms: there is no setting lingr.ms; did you mean linger.ms?
}
