package sluice_test

import (
	"errors"
	"fmt"
	"io/fs"

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
	fmt.Println("no such file:", errors.Is(err, fs.ErrNotExist))
	// Output: no such file: true
}
