package properties

import (
	"crypto/tls"
	"fmt"
	"slices"
	"strings"

	"github.com/sluice-kafka/sluice/internal/tlsfiles"
)

// settleTLS makes the TLS configuration. One that conf has already, which only a program can give, is left alone.
func (s *Settings) settleTLS() error {
	n := &s.Conf.Net.TLS
	if !n.Enable {
		for _, name := range certificates {
			if s.has(name) {
				return fmt.Errorf("%s is set, but security.protocol has no SSL (PLAINTEXT by default)", s.name(name))
			}
		}
		return nil
	}
	conf, err := s.tlsFiles()
	if err != nil {
		return err
	}
	if err := s.tlsRules(conf); err != nil {
		return err
	}
	if n.Config == nil {
		n.Config = conf
	}
	return nil
}

// tlsRules are the settings that are no files.
func (s *Settings) tlsRules(conf *tls.Config) error {
	if s.has("ssl.enabled.protocols") {
		least, most, err := tlsVersions(s.values["ssl.enabled.protocols"])
		if err != nil {
			return named(s.name("ssl.enabled.protocols"), err)
		}
		conf.MinVersion, conf.MaxVersion = least, most
	}
	if !s.has("ssl.cipher.suites") {
		return nil
	}
	suites, most, err := cipherSuites(s.values["ssl.cipher.suites"])
	if err != nil {
		return named(s.name("ssl.cipher.suites"), err)
	}
	conf.CipherSuites = suites
	switch {
	case len(suites) == 0: // of TLS 1.3 alone
		conf.MinVersion = tls.VersionTLS13
	case most != 0 && (conf.MaxVersion == 0 || conf.MaxVersion > most):
		conf.MaxVersion = most
	}
	if conf.MaxVersion != 0 && conf.MinVersion > conf.MaxVersion {
		return fmt.Errorf("%s and ssl.enabled.protocols leave no version of TLS", s.shown("ssl.cipher.suites"))
	}
	return nil
}

// tlsFiles makes a configuration of the authorities, the client's certificate, and how brokers are verified. Files of PEM and PKCS12
// are read again when they change (internal/tlsfiles). The others are read once: JKS, encrypted keys, and authorities where hosts
// are not verified, since tlsfiles always does.
func (s *Settings) tlsFiles() (*tls.Config, error) {
	verify, hosts := true, s.verifiesHosts()
	if v, _ := boolean(s.values["enable.ssl.certificate.verification"]); v == false {
		verify = false
	}
	roots, err := s.readRoots()
	if err != nil {
		return nil, err
	}
	pair, err := s.readPair()
	if err != nil {
		return nil, err
	}
	var paths tlsfiles.Paths
	if verify && hosts && roots != nil && roots.path != "" {
		paths.CA, paths.CAPassword = roots.path, roots.password
	}
	if pair != nil && pair.path != "" {
		paths.Cert, paths.CertPassword, paths.Key = pair.path, pair.password, pair.keyPath
	}
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if paths != (tlsfiles.Paths{}) {
		files, err := tlsfiles.Read(paths)
		if err != nil {
			return nil, err
		}
		conf = files.Config()
	}
	if pair != nil && paths.Cert == "" {
		conf.Certificates = []tls.Certificate{*pair.cert}
	}
	if roots != nil && paths.CA == "" {
		conf.RootCAs = roots.pool
	}
	switch {
	case !verify:
		conf.InsecureSkipVerify = true
	case !hosts:
		conf.InsecureSkipVerify = true // of the host; the rest is verified here
		roots := conf.RootCAs
		conf.VerifyConnection = func(state tls.ConnectionState) error { return tlsfiles.VerifyChain(state, roots, "") }
	}
	return conf, nil
}

func (s *Settings) verifiesHosts() bool {
	value, given := s.values["ssl.endpoint.identification.algorithm"]
	return !given || strings.EqualFold(value, "https")
}

// single is the one setting of these that was given, "" for none. Two are a contradiction.
func (s *Settings) single(names ...string) (string, error) {
	var found []string
	for _, name := range names {
		if s.has(name) {
			found = append(found, name)
		}
	}
	switch len(found) {
	case 0:
		return "", nil
	case 1:
		return found[0], nil
	}
	return "", fmt.Errorf("%s and %s say the same thing: give one of them", s.name(found[0]), s.name(found[1]))
}

var protocolVersions = map[string]uint16{
	"TLSv1": tls.VersionTLS10, "TLSv1.1": tls.VersionTLS11, "TLSv1.2": tls.VersionTLS12, "TLSv1.3": tls.VersionTLS13,
}

// tlsVersions are the first and the last of a list of versions.
func tlsVersions(value string) (least, most uint16, err error) {
	var all []uint16
	for _, name := range list(value) {
		v, err := oneOf(protocolVersions, name)
		if err != nil {
			return 0, 0, err
		}
		all = append(all, v)
	}
	if len(all) == 0 {
		return 0, 0, nil
	}
	slices.Sort(all)
	all = slices.Compact(all)
	least, most = all[0], all[len(all)-1]
	if int(most-least) != len(all)-1 {
		return 0, 0, fmt.Errorf("%q leaves out a version between others, which Go can't", value)
	}
	return least, most, nil
}

// opensslSuites are OpenSSL's names of suites that Go has.
var opensslSuites = map[string]string{
	"AES128-GCM-SHA256":             "TLS_RSA_WITH_AES_128_GCM_SHA256",
	"AES128-SHA":                    "TLS_RSA_WITH_AES_128_CBC_SHA",
	"AES128-SHA256":                 "TLS_RSA_WITH_AES_128_CBC_SHA256",
	"AES256-GCM-SHA384":             "TLS_RSA_WITH_AES_256_GCM_SHA384",
	"AES256-SHA":                    "TLS_RSA_WITH_AES_256_CBC_SHA",
	"ECDHE-ECDSA-AES128-GCM-SHA256": "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
	"ECDHE-ECDSA-AES128-SHA":        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
	"ECDHE-ECDSA-AES128-SHA256":     "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
	"ECDHE-ECDSA-AES256-GCM-SHA384": "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
	"ECDHE-ECDSA-AES256-SHA":        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
	"ECDHE-ECDSA-CHACHA20-POLY1305": "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
	"ECDHE-RSA-AES128-GCM-SHA256":   "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
	"ECDHE-RSA-AES128-SHA":          "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
	"ECDHE-RSA-AES128-SHA256":       "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
	"ECDHE-RSA-AES256-GCM-SHA384":   "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
	"ECDHE-RSA-AES256-SHA":          "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
	"ECDHE-RSA-CHACHA20-POLY1305":   "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
}

// cipherSuites are the suites of a list in Java's names, separated by commas, or in OpenSSL's, separated by colons. Those of TLS
// 1.3 are left out, since Go has all of them on. most is the last version that the list allows, 0 for any.
func cipherSuites(value string) (suites []uint16, most uint16, err error) {
	known := map[string]*tls.CipherSuite{}
	for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		known[suite.Name] = suite
	}
	openssl, with13 := false, false
	for _, name := range list(strings.ReplaceAll(value, ":", ",")) {
		if java, ok := opensslSuites[strings.ToUpper(name)]; ok {
			name, openssl = java, true
		}
		suite, ok := known[strings.ToUpper(name)]
		switch {
		case !ok:
			return nil, 0, fmt.Errorf("there is no suite %q in Go", name)
		case slices.Equal(suite.SupportedVersions, []uint16{tls.VersionTLS13}):
			with13 = true
		default:
			suites = append(suites, suite.ID)
		}
	}
	if len(suites) > 0 && !with13 && !openssl {
		most = tls.VersionTLS12
	}
	return suites, most, nil
}
