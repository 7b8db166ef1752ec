package properties

import "slices"

// Logins. They are put together by settleSASL.
var loginSettings = slices.Concat([]Setting{
	{
		Name: "sasl.mechanism", Also: []string{"sasl.mechanisms"}, Of: Both, Default: "GSSAPI", Fate: Sets, To: []string{"Net.SASL.Mechanism"},
		set: func(s *Settings, _, value string) error {
			m, err := oneOf(mechanisms, value)
			if err != nil {
				return err
			}
			return s.assign("Net.SASL.Mechanism", m)
		},
		Note: "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER or GSSAPI. AWS_MSK_IAM: see examples/mskiam.",
	},
	{
		Name: "sasl.jaas.config", Of: Java, Fate: Sets, Secret: true,
		To: []string{"Net.SASL.User", "Net.SASL.Password", "Net.SASL.TokenProvider", "Net.SASL.GSSAPI"},
		check: func(value string) error {
			if value == "" {
				return nil
			}
			_, err := parseJAAS(value)
			return err
		},
		Note: "PlainLoginModule, ScramLoginModule, OAuthBearerLoginModule and Krb5LoginModule, as Java writes them.",
	},
	{
		Name: "sasl.username", Of: Librdkafka, Fate: Sets, To: []string{"Net.SASL.User"}, set: into(anyText, "Net.SASL.User"),
		Note: "Of PLAIN and SCRAM.",
	},
	{
		Name: "sasl.password", Of: Librdkafka, Fate: Sets, To: []string{"Net.SASL.Password"}, set: into(anyText, "Net.SASL.Password"),
		Secret: true, asIs: true, Note: "Of PLAIN and SCRAM. Spaces around it count.",
	},
	{
		Name: "sasl.kerberos.service.name", Of: Both, Default: "kafka", Fate: Sets, To: []string{"Net.SASL.GSSAPI.ServiceName"},
		Note: "Java has no default.",
	},
	{
		Name: "sasl.kerberos.principal", Of: Librdkafka, Fate: Sets,
		To: []string{"Net.SASL.GSSAPI.Username", "Net.SASL.GSSAPI.Realm"}, Note: "name@REALM or name/host@REALM.",
	},
	{
		Name: "sasl.kerberos.keytab", Of: Librdkafka, Fate: Sets, To: []string{"Net.SASL.GSSAPI.KeyTabPath"},
	},
	{
		Name: "java.security.krb5.conf", Of: Java, Default: "/etc/krb5.conf", Fate: Sets, To: []string{"Net.SASL.GSSAPI.KerberosConfigPath"},
		Note: "A system property in Java. Not given, the environment's KRB5_CONFIG counts, as in librdkafka.",
	},
},
	ignored(Both, "Sarama's Kerberos client logs in for each connection, without kinit.",
		"sasl.kerberos.kinit.cmd", "sasl.kerberos.min.time.before.relogin"),
	ignored(Java, "Sarama's Kerberos client logs in for each connection, without kinit.",
		"sasl.kerberos.ticket.renew.jitter", "sasl.kerberos.ticket.renew.window.factor"),
	ignored(Java, "A token is fetched again after 80 % of its life, at need.",
		"sasl.login.refresh.buffer.seconds", "sasl.login.refresh.min.period.seconds",
		"sasl.login.refresh.window.factor", "sasl.login.refresh.window.jitter"),
	ignored(Java, "A fetch of a token takes 10 s at most, in three tries.",
		"sasl.login.connect.timeout.ms", "sasl.login.read.timeout.ms", "sasl.login.retry.backoff.ms", "sasl.login.retry.backoff.max.ms"),
	refused(Java, "it names a program of Java's, which can't run here; for AWS_MSK_IAM see examples/mskiam", nil,
		"sasl.client.callback.handler.class", "sasl.login.class"),
)

const (
	oauthClasses = "org.apache.kafka.common.security.oauthbearer."
	grantOfJWT   = "urn:ietf:params:oauth:grant-type:jwt-bearer"
)

var retrievers = map[string]string{
	oauthClasses + "DefaultJwtRetriever":           "",
	oauthClasses + "ClientCredentialsJwtRetriever": "credentials",
	oauthClasses + "FileJwtRetriever":              "file",
	oauthClasses + "JwtBearerJwtRetriever":         "assertion",
}

// SASL/OAUTHBEARER: settings of package oauth.
var oauthSettings = slices.Concat([]Setting{
	{
		Name: "sasl.login.callback.handler.class", Of: Java, Fate: Sets, To: []string{"Net.SASL.TokenProvider"},
		check: only("only the class OAuthBearerLoginCallbackHandler of Kafka itself is known here: set Net.SASL.TokenProvider (package oauth)",
			oauthClasses+"OAuthBearerLoginCallbackHandler", oauthClasses+"secured.OAuthBearerLoginCallbackHandler"),
		Note: "OAuthBearerLoginCallbackHandler of Kafka itself, which is the default here.",
	},
	{
		Name: "sasl.oauthbearer.method", Of: Librdkafka, Default: "oidc", Fate: Refused, check: only(unsecured, "oidc"),
		Note: "oidc only: the method default makes tokens that nobody signs.",
	},
	oauthRow(Java, "sasl.oauthbearer.jwt.retriever.class", "DefaultJwtRetriever, ClientCredentialsJwtRetriever, FileJwtRetriever or "+
		"JwtBearerJwtRetriever of Kafka itself. Not given, the other settings tell.",
		func(value string) error {
			if value == "" {
				return nil
			}
			_, err := oneOf(retrievers, value)
			return err
		}),
	oauthRow(Librdkafka, "sasl.oauthbearer.grant.type", "client_credentials, or "+grantOfJWT+".", wordsOrNone("client_credentials", grantOfJWT)),
	oauthRow(Both, "sasl.oauthbearer.token.endpoint.url", "TokenURL; with file:// a file that has the token.", nil),
	oauthRow(Both, "sasl.oauthbearer.client.credentials.client.id", "ClientID. Also clientId in sasl.jaas.config.", nil, "sasl.oauthbearer.client.id"),
	oauthSecret(Both, "sasl.oauthbearer.client.credentials.client.secret", "ClientSecret. Also clientSecret in sasl.jaas.config.", "sasl.oauthbearer.client.secret"),
	oauthRow(Both, "sasl.oauthbearer.scope", "Scopes, separated by spaces. Also scope in sasl.jaas.config.", nil),
	oauthRow(Librdkafka, "sasl.oauthbearer.extensions", "Extensions: name=value, separated by commas. In Java extension_<name> in sasl.jaas.config.",
		func(value string) error { _, err := extensions(value); return err }),
	oauthRow(Both, "sasl.oauthbearer.assertion.file", "Assertion.File.", nil),
	oauthRow(Both, "sasl.oauthbearer.assertion.private.key.file", "Assertion.KeyFile.", nil),
	oauthRow(Both, "sasl.oauthbearer.assertion.algorithm", "Assertion.Algorithm: RS256 (the default) or ES256.", wordsOrNone("RS256", "ES256")),
	oauthRow(Both, "sasl.oauthbearer.assertion.claim.aud", "Assertion.Audience.", nil),
	oauthRow(Both, "sasl.oauthbearer.assertion.claim.iss", "Assertion.Issuer.", nil),
	oauthRow(Both, "sasl.oauthbearer.assertion.claim.sub", "Assertion.Subject.", nil),
	oauthRow(Both, "sasl.oauthbearer.assertion.claim.exp.seconds", "Assertion.Lifetime; 300 by default.", parsed(between(1, 86400))),
	oauthRow(Both, "sasl.oauthbearer.assertion.claim.nbf.seconds", "Assertion.NotBefore; 60 by default.", parsed(between(0, 86400))),
	oauthRow(Librdkafka, "https.ca.location", "A PEM file with the authorities of the token endpoint. Not given, those of the system.", nil),
	oauthSecret(Librdkafka, "https.ca.pem", "The same as a PEM text."),
},
	ignored(Both, "Each assertion has one.", "sasl.oauthbearer.assertion.claim.jti.include"),
	ignored(Java, "Id and secret are always encoded for the header, as RFC 6749 has it.", "sasl.oauthbearer.header.urlencode"),
	ignored(Java, "Tokens are verified by the broker.",
		"sasl.oauthbearer.jwt.validator.class", "sasl.oauthbearer.scope.claim.name", "sasl.oauthbearer.clock.skew.seconds",
		"sasl.oauthbearer.expected.audience", "sasl.oauthbearer.expected.issuer", "sasl.oauthbearer.jwks.endpoint.url",
		"sasl.oauthbearer.jwks.endpoint.refresh.ms", "sasl.oauthbearer.jwks.endpoint.retry.backoff.ms",
		"sasl.oauthbearer.jwks.endpoint.retry.backoff.max.ms"),
	ignored(Both, "Tokens are verified by the broker.", "sasl.oauthbearer.sub.claim.name"),
	[]Setting{oauthRefused("sasl.oauthbearer.assertion.private.key.passphrase", "keys of assertions can't be encrypted here")},
	[]Setting{oauthRefused("sasl.oauthbearer.assertion.private.key.pem", "name a file with sasl.oauthbearer.assertion.private.key.file")},
	refused(Both, "set the claims in Assertion of package oauth", nil, "sasl.oauthbearer.assertion.template.file",
		"sasl.oauthbearer.assertion.jwt.template.file"),
	refused(Librdkafka, "see Func of package oauth for such sources", []string{"none"}, "sasl.oauthbearer.metadata.authentication.type"),
	[]Setting{oauthRefused("sasl.oauthbearer.config", unsecured)},
	refused(Librdkafka, unsecured, []string{"false"}, "enable.sasl.oauthbearer.unsecure.jwt"),
)

const unsecured = "tokens that nobody signs are for tests only: see Func of package oauth"

func oauthRow(of Client, name, note string, check func(string) error, also ...string) Setting {
	return Setting{Name: name, Also: also, Of: of, Fate: Sets, To: []string{"Net.SASL.TokenProvider"}, Note: note, check: check}
}

func oauthSecret(of Client, name, note string, also ...string) Setting {
	row := oauthRow(of, name, note, nil, also...)
	row.Secret = true
	return row
}

func oauthRefused(name, why string) Setting {
	row := refused(Both, why, nil, name)[0]
	row.Secret = true
	return row
}
