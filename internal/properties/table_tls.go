package properties

import (
	"slices"

	"github.com/IBM/sarama"
)

var securityProtocols = map[string][2]bool{ // TLS, SASL
	"PLAINTEXT":      {false, false},
	"SSL":            {true, false},
	"SASL_PLAINTEXT": {false, true},
	"SASL_SSL":       {true, true},
}

// certificates are settings that only make sense with TLS: beside PLAINTEXT they are a contradiction.
var certificates = []string{
	"ssl.ca.location", "ssl.truststore.location", "ssl.truststore.certificates",
	"ssl.certificate.location", "ssl.key.location", "ssl.keystore.location", "ssl.keystore.certificate.chain", "ssl.keystore.key",
}

// TLS. The files and texts are put together by settleTLS.
var tlsSettings = slices.Concat([]Setting{
	{
		Name: "security.protocol", Of: Both, Default: "PLAINTEXT", Fate: Sets, To: []string{"Net.TLS.Enable", "Net.SASL.Enable"},
		set: func(s *Settings, _, value string) error {
			on, err := oneOf(securityProtocols, value)
			if err != nil {
				return err
			}
			if err := s.assign("Net.TLS.Enable", on[0]); err != nil {
				return err
			}
			return s.assign("Net.SASL.Enable", on[1])
		},
		Note: "Certificates without SSL, and logins without SASL, are refused.",
	},
	tlsRow(Librdkafka, "ssl.ca.location", "A PEM or PKCS12 file with the authorities that may issue brokers' certificates; no folder. Not given, or probe, those of the system."),
	tlsRow(Java, "ssl.truststore.location", "As ssl.ca.location, and JKS."),
	secretRow(Java, "ssl.truststore.password", "Of JKS and PKCS12."),
	{
		Name: "ssl.truststore.type", Of: Java, Default: "JKS", Fate: Sets, To: []string{"Net.TLS.Config"}, check: wordsOrNone("JKS", "PKCS12", "PEM"),
		Note: "The file's content tells JKS from PKCS12.",
	},
	secretRow(Java, "ssl.truststore.certificates", "Authorities as a PEM text.", "ssl.ca.pem"),
	tlsRow(Librdkafka, "ssl.certificate.location", "A PEM file with the client's certificate and those between it and the root."),
	tlsRow(Librdkafka, "ssl.key.location", "A PEM file with its key."),
	secretRow(Both, "ssl.key.password", "Of the key, in PEM (PKCS#8) or JKS."),
	tlsRow(Both, "ssl.keystore.location", "The client's certificate and key: JKS, PKCS12 or PEM; in librdkafka PKCS12 only."),
	secretRow(Both, "ssl.keystore.password", "Of JKS and PKCS12."),
	{
		Name: "ssl.keystore.type", Of: Java, Default: "JKS", Fate: Sets, To: []string{"Net.TLS.Config"}, check: wordsOrNone("JKS", "PKCS12", "PEM"),
		Note: "The file's content tells JKS from PKCS12.",
	},
	secretRow(Java, "ssl.keystore.certificate.chain", "The client's certificate as a PEM text.", "ssl.certificate.pem"),
	secretRow(Java, "ssl.keystore.key", "Its key as a PEM text (PKCS#8; PKCS#1 and SEC 1 if it is not encrypted).", "ssl.key.pem"),
	{
		Name: "enable.ssl.certificate.verification", Of: Librdkafka, Default: "true", Fate: Sets, To: []string{"Net.TLS.Config"},
		check: parsed(boolean), Note: "With false anybody can pass for a broker.",
	},
	{
		Name: "ssl.endpoint.identification.algorithm", Of: Both, Default: "https", Fate: Sets, To: []string{"Net.TLS.Config"},
		check: wordsOrNone("https", "none"),
		Note:  "Empty (Java) or none (librdkafka): certificates are verified, but not for whom they are.",
	},
	{
		Name: "ssl.enabled.protocols", Of: Java, Default: "TLSv1.2,TLSv1.3", Fate: Sets, To: []string{"Net.TLS.Config"},
		check: func(value string) error { _, _, err := tlsVersions(value); return err },
		Note:  "TLSv1 to TLSv1.3, without a gap.",
	},
	{
		Name: "ssl.cipher.suites", Of: Both, Fate: Sets, To: []string{"Net.TLS.Config"},
		check: func(value string) error { _, _, err := cipherSuites(value); return err },
		Note: "Java's names, or OpenSSL's. Go does not choose among the suites of TLS 1.3: a list of Java's names without any of them " +
			"ends at TLS 1.2.",
	},
	{
		Name: "ssl.protocol", Of: Java, Default: "TLSv1.3", Fate: Ignored, quiet: true, check: wordsOrNone("TLS", "TLSv1.1", "TLSv1.2", "TLSv1.3"),
		Note: "ssl.enabled.protocols says what may be used, as in Java.",
	},
},
	ignored(Java, "Go's crypto/tls has its own.", "ssl.keymanager.algorithm", "ssl.trustmanager.algorithm"),
	refused(Java, "it names a program of Java's, which can't run here", nil,
		"ssl.engine.factory.class", "ssl.provider", "security.providers", "ssl.secure.random.implementation"),
	refused(Librdkafka, "OpenSSL is not used here", []string{"default"}, "ssl.providers"),
	refused(Librdkafka, "OpenSSL is not used here", []string{"dynamic"}, "ssl.engine.id"),
	refused(Librdkafka, "OpenSSL is not used here", nil, "ssl.engine.location"),
	refused(Librdkafka, "revoked certificates are not looked for: verify them in VerifyConnection of Net.TLS.Config", nil, "ssl.crl.location"),
	refused(Librdkafka, "set CurvePreferences of Net.TLS.Config", nil, "ssl.curves.list"),
	refused(Librdkafka, "Go's crypto/tls chooses them", nil, "ssl.sigalgs.list"),
	refused(Librdkafka, "the system's store is read", []string{"Root"}, "ssl.ca.certificate.stores"),
)

func tlsRow(of Client, name, note string) Setting {
	return Setting{Name: name, Of: of, Fate: Sets, To: []string{"Net.TLS.Config"}, Note: note}
}

func secretRow(of Client, name, note string, also ...string) Setting {
	return Setting{Name: name, Also: also, Of: of, Fate: Sets, To: []string{"Net.TLS.Config"}, Note: note, Secret: true}
}

var mechanisms = map[string]sarama.SASLMechanism{
	"PLAIN":         sarama.SASLTypePlaintext,
	"SCRAM-SHA-256": sarama.SASLTypeSCRAMSHA256,
	"SCRAM-SHA-512": sarama.SASLTypeSCRAMSHA512,
	"OAUTHBEARER":   sarama.SASLTypeOAuth,
	"GSSAPI":        sarama.SASLTypeGSSAPI,
}
