package properties

import (
	"context"
	"encoding/pem"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/certtest"
	"github.com/sluice-kafka/sluice/oauth"
)

const (
	plainModule = "org.apache.kafka.common.security.plain.PlainLoginModule required "
	scramModule = "org.apache.kafka.common.security.scram.ScramLoginModule required "
	oauthModule = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
	krb5Module  = "com.sun.security.auth.module.Krb5LoginModule required "
)

func TestLogins(t *testing.T) {
	t.Setenv("KRB5_CONFIG", "/k/krb5.conf")
	t.Setenv("KRB5CCNAME", "FILE:/k/cache")
	type conf = func(s *sarama.Config) any
	user := func(c *sarama.Config) any { return c.Net.SASL.User + ":" + c.Net.SASL.Password }
	kerberos := func(c *sarama.Config) any {
		g := c.Net.SASL.GSSAPI
		return fmt.Sprint(g.AuthType, " ", g.ServiceName, " ", g.Username, " ", g.Realm, " ", g.KeyTabPath, g.CCachePath, " ", g.KerberosConfigPath)
	}
	for _, test := range []struct {
		values map[string]string
		get    conf
		want   any
	}{
		{map[string]string{"sasl.mechanism": "PLAIN", "sasl.username": "u", "sasl.password": " p "}, user, "u: p "},
		{map[string]string{"sasl.mechanisms": "plain", "sasl.jaas.config": plainModule + `username="u" password="p\"\\;";`}, user, `u:p"\;`},
		{map[string]string{"sasl.mechanism": "PLAIN", "sasl.username": "u", "sasl.jaas.config": plainModule + `username=u password=p;`}, user, `u:p`},
		{map[string]string{"sasl.mechanism": "SCRAM-SHA-256", "sasl.username": "u", "sasl.password": "p"}, func(c *sarama.Config) any {
			return c.Net.SASL.SCRAMClientGeneratorFunc() != nil
		}, true},
		{map[string]string{"sasl.mechanism": "SCRAM-SHA-512", "sasl.jaas.config": "org.apache.kafka.shaded." + scramModule + `username="u" password="p" tokenauth=false;`}, user, "u:p"},
		{map[string]string{"sasl.mechanism": "GSSAPI", "sasl.kerberos.principal": "app/host@REALM", "sasl.kerberos.keytab": "/k/tab", "sasl.kerberos.service.name": "srv"},
			kerberos, "2 srv app/host REALM /k/tab /k/krb5.conf"},
		{map[string]string{"sasl.jaas.config": krb5Module + `useKeyTab=true storeKey=true keyTab="/k/tab" principal="app@REALM";`, "java.security.krb5.conf": "/j"},
			kerberos, "2 kafka app REALM /k/tab /j"},
		{map[string]string{"sasl.jaas.config": krb5Module + `useTicketCache=true principal="app@REALM" serviceName=srv;`}, kerberos, "3 srv app REALM /k/cache /k/krb5.conf"},
		{map[string]string{"sasl.kerberos.principal": "app@REALM"}, kerberos, "3 kafka app REALM /k/cache /k/krb5.conf"},
	} {
		values := maps.Clone(test.values)
		values["security.protocol"] = "SASL_PLAINTEXT"
		s, err := finished(values)
		if err != nil {
			t.Errorf("%v: %v", test.values, err)
			continue
		}
		if got := test.get(s.Conf); got != test.want || !s.Conf.Net.SASL.Enable {
			t.Errorf("%v: %v, want %v", test.values, got, test.want)
		}
	}
}

func TestLoginsRefused(t *testing.T) {
	for _, test := range []struct {
		values map[string]string
		want   string
	}{
		{map[string]string{"security.protocol": "SSL", "sasl.username": "u"}, "sasl.username is set, but security.protocol has no SASL"},
		{map[string]string{"security.protocol": "PLAINTEXT", "sasl.mechanism": "PLAIN"}, "sasl.mechanism is set, but security.protocol has no SASL"},
		{map[string]string{"sasl.username": "u", "sasl.password": "p"}, "sasl.mechanism is not set"},
		{map[string]string{"sasl.mechanism": "AWS_MSK_IAM"}, `"AWS_MSK_IAM" is not one of GSSAPI, OAUTHBEARER, PLAIN`},
		{map[string]string{"sasl.mechanism": "PLAIN"}, "wants sasl.username and sasl.password"},
		{map[string]string{"sasl.mechanism": "PLAIN", "sasl.username": "u"}, "wants sasl.username and sasl.password"},
		{map[string]string{"sasl.mechanism": "PLAIN", "sasl.jaas.config": scramModule + "username=u password=p;"}, "wants a PlainLoginModule"},
		{map[string]string{"sasl.mechanism": "PLAIN", "sasl.jaas.config": plainModule + "username=u;"}, "username and password are not both set"},
		{map[string]string{"sasl.mechanism": "PLAIN", "sasl.jaas.config": plainModule + "username=u password=p usernam=v;"}, `the option "usernam" is not known`},
		{map[string]string{"sasl.mechanism": "PLAIN", "sasl.username": "v", "sasl.jaas.config": plainModule + "username=u password=p;"}, "are different"},
		{map[string]string{"sasl.mechanism": "SCRAM-SHA-256", "sasl.jaas.config": scramModule + "username=u password=p tokenauth=true;"}, "delegation tokens"},
		{map[string]string{"sasl.mechanism": "PLAIN", "sasl.jaas.config": plainModule + "username=u password=p"}, "sasl.jaas.config: at character"},
		{map[string]string{"sasl.mechanism": "GSSAPI"}, "wants sasl.kerberos.principal"},
		{map[string]string{"sasl.mechanism": "GSSAPI", "sasl.kerberos.principal": "app"}, "name@REALM"},
		{map[string]string{"sasl.mechanism": "GSSAPI", "sasl.jaas.config": krb5Module + "useKeyTab=true principal=a@B;"}, "useKeyTab without keyTab"},
		{map[string]string{"sasl.mechanism": "GSSAPI", "sasl.kerberos.keytab": "a", "sasl.jaas.config": krb5Module + "keyTab=b principal=a@B;"}, "keyTab differs"},
		{map[string]string{"sasl.mechanism": "OAUTHBEARER"}, "sasl.oauthbearer.*: oauth: "},
		{map[string]string{"sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.method": "default"}, "nobody signs"},
		{map[string]string{"sasl.mechanism": "OAUTHBEARER", "sasl.jaas.config": oauthModule + `unsecuredLoginStringClaim_sub="a";`}, "nobody signs"},
		{map[string]string{"sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.token.endpoint.url": "https://x.test/t"}, "ClientID is empty"},
		{map[string]string{"sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.token.endpoint.url": "file://host/t"}, "file:///path"},
		{map[string]string{"sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.token.endpoint.url": "file:///not/there"}, "no such file"},
		{map[string]string{"sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.token.endpoint.url": "https://x.test/t", "sasl.oauthbearer.grant.type": grantOfJWT}, "assertion.file"},
		{map[string]string{"sasl.mechanism": "OAUTHBEARER", "sasl.oauthbearer.jwt.retriever.class": "com.example.Own"}, "is not one of"},
		{map[string]string{"sasl.mechanism": "OAUTHBEARER", "sasl.login.callback.handler.class": "com.example.Own"}, "package oauth"},
		{map[string]string{"sasl.client.callback.handler.class": "software.amazon.msk.auth.iam.IAMClientCallbackHandler"}, "examples/mskiam"},
	} {
		if test.values["security.protocol"] == "" {
			test.values["security.protocol"] = "SASL_SSL"
		}
		if _, err := finished(test.values); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v, want %q", test.values, err, test.want)
		}
	}
}

// Each way to a token asks for it as package oauth does.
func TestTokens(t *testing.T) {
	var form, auth string
	endpoint := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		form = r.Form.Encode()
		id, secret, _ := r.BasicAuth()
		auth = id + ":" + secret
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token":"token","token_type":"Bearer","expires_in":3600}`)
	}))
	defer endpoint.Close()
	dir := t.TempDir()
	ca := certtest.Write(t, filepath.Join(dir, "ca.pem"), pemOf(endpoint))
	key := certtest.Write(t, filepath.Join(dir, "key.pem"), certtest.NewCA(t, "x").Client(t, "x").KeyPEM(t))
	token := filepath.Join(dir, "token")
	if err := os.WriteFile(token, []byte("fromfile\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name             string
		values           map[string]string
		token            string
		form, auth, exts string
	}{
		{"Java", map[string]string{
			"sasl.oauthbearer.client.credentials.client.id": "me", "sasl.oauthbearer.client.credentials.client.secret": "s", "sasl.oauthbearer.scope": "a b",
			"sasl.login.callback.handler.class": oauthClasses + "OAuthBearerLoginCallbackHandler", "sasl.jaas.config": oauthModule + `extension_logicalCluster="lkc";`,
		}, "token", "grant_type=client_credentials&scope=a+b", "me:s", "map[logicalCluster:lkc]"},
		{"Java before 4.1", map[string]string{"sasl.jaas.config": oauthModule + `clientId="me" clientSecret="s" scope="a";`}, "token", "grant_type=client_credentials&scope=a", "me:s", "map[]"},
		{"librdkafka", map[string]string{
			"sasl.oauthbearer.method": "oidc", "sasl.oauthbearer.client.id": "me", "sasl.oauthbearer.client.secret": "s", "sasl.oauthbearer.extensions": "a=b, c=d",
		}, "token", "grant_type=client_credentials", "me:s", "map[a:b c:d]"},
		{"assertion", map[string]string{
			"sasl.oauthbearer.grant.type": grantOfJWT, "sasl.oauthbearer.assertion.private.key.file": key, "sasl.oauthbearer.assertion.algorithm": "es256",
			"sasl.oauthbearer.assertion.claim.iss": "me",
		}, "token", "assertion=", ":", "map[]"},
		{"assertion (Java)", map[string]string{
			"sasl.oauthbearer.jwt.retriever.class": oauthClasses + "JwtBearerJwtRetriever", "sasl.oauthbearer.assertion.file": token,
		}, "token", "assertion=fromfile", ":", "map[]"},
		{"file", map[string]string{"sasl.oauthbearer.token.endpoint.url": "file://" + filepath.ToSlash(token)}, "fromfile", "", "", "map[]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			form, auth = "", ""
			values := map[string]string{"security.protocol": "SASL_SSL", "sasl.mechanism": "OAUTHBEARER", "https.ca.location": ca,
				"sasl.oauthbearer.token.endpoint.url": endpoint.URL}
			maps.Copy(values, test.values)
			provider := mustFinish(t, values).Conf.Net.SASL.TokenProvider
			got, err := provider.(*oauth.TokenProvider).TokenContext(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			if got.Token != test.token || !strings.HasPrefix(form, test.form) || auth != test.auth || fmt.Sprint(got.Extensions) != test.exts {
				t.Errorf("token %q, form %q, auth %q, extensions %v", got.Token, form, auth, got.Extensions)
			}
		})
	}
}

func pemOf(server *httptest.Server) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
}
