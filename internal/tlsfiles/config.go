package tlsfiles

import (
	"crypto/tls"
	"crypto/x509"
	"errors"

	"github.com/IBM/sarama"
)

var errNoServerName = errors.New("the broker's name is not known here, so its certificate can't be verified: crypto/tls does not " +
	"tell it where a broker is dialled by its IP address; set TLSFiles.ServerName")

// Config is a configuration for clients, sarama's own included. The files are looked at in each handshake.
//
// The authorities of a tls.Config can't change while it is in use. So with a CA file crypto/tls is told to verify nothing, and
// verify does it instead. Connections of this module don't need that: see Use.
func (f *Files) Config() *tls.Config {
	conf := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         f.paths.ServerName,
		ClientSessionCache: mark{f},
		// As without a cache. A broker would take who resumes a session for whom it was before the change.
		SessionTicketsDisabled: true,
	}
	if f.paths.CA != "" {
		conf.InsecureSkipVerify = true
		conf.VerifyConnection = f.verify
	}
	if f.paths.Cert != "" {
		conf.GetClientCertificate = f.clientCertificate
	}
	return conf
}

// mark tells Use whose a configuration is. A tls.Config has no room for values of ours, but Clone keeps this field: it is a session
// cache that holds nothing, which is the same as none.
type mark struct{ files *Files }

func (mark) Get(string) (*tls.ClientSessionState, bool) { return nil, false }
func (mark) Put(string, *tls.ClientSessionState)        {}

// Use has crypto/tls itself verify the broker of the next handshake, with what the files hold now. conf must be a Clone for
// that handshake alone. changed tells whether the files hold something else by now, and why what they hold is not taken, if it is
// not; it may be called concurrently. If conf is not of Files, Use leaves it as it is, and changed is nil.
func Use(conf *tls.Config) (changed func() (bool, error)) {
	ours, ok := conf.ClientSessionCache.(mark)
	if !ok {
		return nil
	}
	f := ours.files
	used := f.look()
	if f.paths.CA != "" {
		conf.RootCAs, conf.InsecureSkipVerify = used.roots, false
	}
	return func() (bool, error) {
		now := f.look()
		f.mu.Lock()
		defer f.mu.Unlock()
		return now != used, f.bad
	}
}

// verify is tls.Config.VerifyConnection, with the authorities that the file holds now.
func (f *Files) verify(state tls.ConnectionState) error {
	if len(state.VerifiedChains) > 0 {
		return nil // crypto/tls did it
	}
	name := state.ServerName
	if name == "" {
		name = f.paths.ServerName // an IP address
	}
	if name == "" {
		return errNoServerName // for x509 no name would mean any
	}
	return VerifyChain(state, f.look().roots, name) // roots are never nil, which would be the system's
}

// VerifyChain does what crypto/tls does without InsecureSkipVerify. roots are the system's if they are nil. Of no host any host's
// certificate will do.
func VerifyChain(state tls.ConnectionState, roots *x509.CertPool, host string) error {
	options := x509.VerifyOptions{
		Roots:         roots,
		DNSName:       host,
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if len(state.PeerCertificates) == 0 {
		return errors.New("the broker has no certificate")
	}
	for _, cert := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(cert)
	}
	if _, err := state.PeerCertificates[0].Verify(options); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	return nil
}

// clientCertificate is tls.Config.GetClientCertificate. Like crypto/tls with Certificates, it sends none that the broker does
// not accept.
func (f *Files) clientCertificate(request *tls.CertificateRequestInfo) (*tls.Certificate, error) {
	pair := f.look().pair
	if err := request.SupportsCertificate(pair); err != nil {
		sarama.Logger.Printf("sluice: TLSFiles: the certificate of %s is not sent, the broker would refuse it: %v\n", f.paths.Cert, err)
		return new(tls.Certificate), nil
	}
	return pair, nil
}
