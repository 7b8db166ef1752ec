package properties

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/scram"
)

// logins are settings that only make sense with SASL: beside another security.protocol they are a contradiction.
var logins = []string{
	"sasl.mechanism", "sasl.jaas.config", "sasl.username", "sasl.password", "sasl.kerberos.principal", "sasl.kerberos.keytab",
	"sasl.oauthbearer.token.endpoint.url", "sasl.oauthbearer.client.credentials.client.id",
	"sasl.oauthbearer.client.credentials.client.secret", "sasl.oauthbearer.assertion.file", "sasl.oauthbearer.assertion.private.key.file",
}

// settleSASL sets up the login. What a program or a dotted path has put into conf stays.
func (s *Settings) settleSASL() error {
	conf := &s.Conf.Net.SASL
	if !conf.Enable {
		for _, name := range logins {
			if s.has(name) {
				protocol := "it is " + strings.ToUpper(s.values["security.protocol"])
				if !s.has("security.protocol") {
					protocol = "not set, it is PLAINTEXT"
				}
				return fmt.Errorf("%s is set, but security.protocol has no SASL (%s; SASL_SSL and SASL_PLAINTEXT have)", s.name(name), protocol)
			}
		}
		return nil
	}
	var module *loginModule
	if s.has("sasl.jaas.config") {
		m, err := parseJAAS(s.values["sasl.jaas.config"])
		if err != nil {
			return named(s.name("sasl.jaas.config"), err)
		}
		module = m
	}
	if conf.Mechanism == "" {
		if !s.has("security.protocol") {
			return nil // Net.SASL.Enable by its path: sarama's default
		}
		if !s.has("sasl.kerberos.principal") && (module == nil || !strings.HasSuffix(module.class, ".Krb5LoginModule")) {
			return errors.New("sasl.mechanism is not set, and the default, GSSAPI, has no sasl.kerberos.principal or Krb5LoginModule")
		}
		conf.Mechanism = sarama.SASLTypeGSSAPI
	}
	switch conf.Mechanism {
	case sarama.SASLTypePlaintext:
		return s.password(module, "PlainLoginModule")
	case sarama.SASLTypeSCRAMSHA256, sarama.SASLTypeSCRAMSHA512:
		if conf.SCRAMClientGeneratorFunc == nil {
			mechanism := conf.Mechanism
			conf.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return scram.NewClient(mechanism) }
		}
		return s.password(module, "ScramLoginModule")
	case sarama.SASLTypeOAuth:
		return s.oauth(module)
	case sarama.SASLTypeGSSAPI:
		return s.kerberos(module)
	}
	return nil
}

// expect checks the class of a module by its last part. What comes before it differs, as where Kafka is packed into another jar.
func (s *Settings) expect(module *loginModule, class string) error {
	if last := module.class[strings.LastIndexByte(module.class, '.')+1:]; last != class {
		return fmt.Errorf("%s: sasl.mechanism %s wants a %s", s.name("sasl.jaas.config"), s.Conf.Net.SASL.Mechanism, class)
	}
	return nil
}

// nothingLeft refuses options that were not understood, by their names.
func (s *Settings) nothingLeft(module *loginModule) error {
	if len(module.options) == 0 {
		return nil
	}
	var names []string
	for name := range module.options {
		names = append(names, name)
	}
	slices.Sort(names)
	if len(names) == 1 {
		return fmt.Errorf("%s: the option %q is not known here", s.name("sasl.jaas.config"), names[0])
	}
	return fmt.Errorf("%s: the options %q are not known here", s.name("sasl.jaas.config"), names)
}

// password is the login of PLAIN and SCRAM.
func (s *Settings) password(module *loginModule, class string) error {
	conf := &s.Conf.Net.SASL
	if module != nil {
		if err := s.expect(module, class); err != nil {
			return err
		}
		user, password := module.take("username"), module.take("password")
		if user == "" || password == "" {
			return fmt.Errorf("%s: username and password are not both set", s.name("sasl.jaas.config"))
		}
		if s.has("sasl.username") && conf.User != user || s.has("sasl.password") && conf.Password != password {
			return fmt.Errorf("%s and sasl.username or sasl.password are different", s.name("sasl.jaas.config"))
		}
		if strings.EqualFold(module.take("tokenauth"), "true") {
			return fmt.Errorf("%s: delegation tokens (tokenauth) are not supported", s.name("sasl.jaas.config"))
		}
		if err := s.nothingLeft(module); err != nil {
			return err
		}
		conf.User, conf.Password = user, password
	}
	if conf.User == "" || conf.Password == "" {
		return fmt.Errorf("sasl.mechanism %s wants sasl.username and sasl.password, or sasl.jaas.config", conf.Mechanism)
	}
	return nil
}

// kerberos is the login of GSSAPI: with a keytab, or with the tickets that kinit left.
func (s *Settings) kerberos(module *loginModule) error {
	conf := &s.Conf.Net.SASL.GSSAPI
	principal, keytab, cache := s.values["sasl.kerberos.principal"], s.values["sasl.kerberos.keytab"], ""
	service := s.values["sasl.kerberos.service.name"]
	if module != nil {
		if err := s.expect(module, "Krb5LoginModule"); err != nil {
			return err
		}
		for _, o := range []struct {
			option string
			value  *string
		}{{"principal", &principal}, {"keyTab", &keytab}, {"ticketCache", &cache}, {"serviceName", &service}} {
			given := module.take(o.option)
			if given != "" && *o.value != "" && given != *o.value {
				return fmt.Errorf("%s: the option %s differs from the setting", s.name("sasl.jaas.config"), o.option)
			}
			if given != "" {
				*o.value = given
			}
		}
		fromKeytab, fromCache := module.take("useKeyTab"), module.take("useTicketCache")
		if strings.EqualFold(fromKeytab, "true") && keytab == "" {
			return fmt.Errorf("%s: useKeyTab without keyTab", s.name("sasl.jaas.config"))
		}
		if strings.EqualFold(fromCache, "true") && keytab == "" && cache == "" {
			cache = ticketCache()
		}
		for _, name := range []string{"storeKey", "debug", "renewTGT", "doNotPrompt", "isInitiator", "refreshKrb5Config", "storePass", "clearPass", "useFirstPass", "tryFirstPass"} {
			module.take(name)
		}
		if err := s.nothingLeft(module); err != nil {
			return err
		}
	}
	if principal == "" && conf.Username == "" {
		return errors.New("sasl.mechanism GSSAPI wants sasl.kerberos.principal, or a Krb5LoginModule with principal")
	}
	if principal != "" {
		at := strings.LastIndexByte(principal, '@')
		if at < 1 || at == len(principal)-1 {
			return fmt.Errorf("the principal %q is not of the form name@REALM", principal)
		}
		conf.Username, conf.Realm = principal[:at], principal[at+1:]
	}
	switch {
	case keytab != "":
		conf.AuthType, conf.KeyTabPath = sarama.KRB5_KEYTAB_AUTH, strings.TrimPrefix(keytab, "file:")
	case cache != "":
		conf.AuthType, conf.CCachePath = sarama.KRB5_CCACHE_AUTH, strings.TrimPrefix(cache, "FILE:")
	case conf.AuthType == 0:
		conf.AuthType, conf.CCachePath = sarama.KRB5_CCACHE_AUTH, ticketCache()
	}
	if service == "" && conf.ServiceName == "" {
		service = "kafka"
	}
	if service != "" {
		conf.ServiceName = service
	}
	if path := s.values["java.security.krb5.conf"]; path != "" {
		conf.KerberosConfigPath = path
	} else if conf.KerberosConfigPath == "" {
		conf.KerberosConfigPath = kerberosConfig()
	}
	return nil
}

// ticketCache and kerberosConfig are where Kerberos itself looks.
func ticketCache() string {
	if path := os.Getenv("KRB5CCNAME"); path != "" {
		return strings.TrimPrefix(path, "FILE:")
	}
	return fmt.Sprintf("%s/krb5cc_%d", strings.TrimRight(os.TempDir(), "/"), os.Getuid())
}

func kerberosConfig() string {
	if path := os.Getenv("KRB5_CONFIG"); path != "" {
		return path
	}
	return "/etc/krb5.conf"
}
