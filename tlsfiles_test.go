package sluice_test

import (
	"log"

	"github.com/sluice-kafka/sluice"
)

func ExampleTLSFiles() {
	conf := sluice.NewConfig()
	var err error
	conf.Net.TLS.Enable = true
	conf.Net.TLS.Config, err = sluice.TLSFiles{
		CAFile:   "/etc/kafka/tls/ca.crt", // as cert-manager has them
		CertFile: "/etc/kafka/tls/tls.crt",
		KeyFile:  "/etc/kafka/tls/tls.key",
	}.Config()
	if err != nil {
		log.Fatal(err)
	}
}
