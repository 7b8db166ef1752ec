package sluice_test

import (
	"fmt"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice"
)

func ExampleSCRAMClient() {
	conf := sluice.NewConfig()
	conf.Net.SASL.Enable = true
	conf.Net.SASL.Mechanism = sarama.SASLTypeSCRAMSHA512
	conf.Net.SASL.User, conf.Net.SASL.Password = "orders", "secret"
	conf.Net.SASL.SCRAMClientGeneratorFunc = sluice.SCRAMClient(sarama.SASLTypeSCRAMSHA512)
	fmt.Println(conf.Validate())
	// Output: <nil>
}
