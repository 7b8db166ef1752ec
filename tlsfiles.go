package sluice

import (
	"crypto/tls"
	"fmt"

	"github.com/sluice-kafka/sluice/internal/tlsfiles"
)

// TLSFiles makes a TLS configuration of files that are read again when they change, so that certificates are renewed without a
// restart:
//
//	conf.Net.TLS.Enable = true
//	conf.Net.TLS.Config, err = sluice.TLSFiles{CAFile: "ca.pem", CertFile: "client.pem", KeyFile: "client.key"}.Config()
//
// The files are PEM or PKCS12; their content tells which. JKS must be converted, and a PEM key must not be encrypted. Files of
// more than 4 MiB are refused.
type TLSFiles struct {
	// CAFile has the authorities that may issue the brokers' certificates: PEM, or a PKCS12 truststore as keytool makes it, or
	// openssl pkcs12 with -jdktrust anyExtendedKeyUsage. Empty: those of the system, which are read once.
	CAFile     string
	CAPassword string // of a PKCS12 CAFile

	// CertFile has the client's certificate: PEM, with the authorities between it and the root after it; or a PKCS12
	// keystore, with its key. Empty: the client shows none.
	CertFile     string
	CertPassword string // of a PKCS12 CertFile

	// KeyFile has the key of a PEM CertFile, in PEM. Empty: CertFile has it too.
	KeyFile string

	// ServerName is the name that brokers' certificates must be for. Empty: the host name or IP address that is dialled, as
	// Metadata tells it.
	//
	// Sarama's own clients and producers need it if they dial brokers by IP addresses and CAFile is set: they refuse each
	// broker otherwise, since crypto/tls does not tell the address. With host names they don't, and producers of this package never do.
	ServerName string
}

// Config reads the files and returns a configuration for conf.Net.TLS.Config, of any number of producers. An error names
// field, path and cause; errors.Is finds fs.ErrNotExist.
//
// The files are looked at when a connection is made or used, if 10 s have passed since the last time; no goroutine waits for
// that. If they have changed,
//
//   - new connections use the new files
//   - a connection of this package's producers that is in use is replaced: another one is dialled and logged in, what is open
//     on the old one is answered, then the old one is closed. That takes 10 s and the time of a dial. One with less
//     traffic serves one more request at most, or is closed as idle (WithConnectionsMaxIdle)
//   - if the dial fails, because brokers do not know the new certificate for example, the old connection goes on. This is logged, and
//     tried again after 30 s at the latest
//
// The files are taken as a whole. If one is missing or damaged, or the key is not the certificate's, sarama.Logger is told
// once and all stays as it was until that is mended. Replace a file by renaming another one to it, or by a link as Kubernetes does: of
// a list of authorities that is half written, the first half may be taken for all.
//
// The configuration also works in sarama's own clients, and in others that set ServerName, as tls.Dial does. Their
// open connections stay.
//
// A configuration, and Clones of it, may be used concurrently. Before its first use you may change other fields, such as MinVersion
// (TLS 1.2), but not ClientSessionCache, GetClientCertificate, InsecureSkipVerify and VerifyConnection. With a CAFile the last
// two replace crypto/tls's own verification, which knows no authorities that change: chain, host and use of the
// certificate are verified all the same. Sessions are not resumed, which is the default of crypto/tls too.
func (t TLSFiles) Config() (*tls.Config, error) {
	files, err := tlsfiles.Read(tlsfiles.Paths{
		CA: t.CAFile, CAPassword: t.CAPassword,
		Cert: t.CertFile, CertPassword: t.CertPassword,
		Key:        t.KeyFile,
		ServerName: t.ServerName,
	})
	if err != nil {
		return nil, fmt.Errorf("sluice: TLSFiles: %w", err)
	}
	return files.Config(), nil
}
