//go:build unix

package kafkatest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
)

// maxListeners is how many further listeners a cluster may have.
const maxListeners = 4

// Listener is one more listener on each node, beside that of PLAINTEXT, which stays: this package uses it itself.
type Listener struct {
	Name string // for Addrs; letters, digits and _

	// Mechanisms are those of SASL that it offers, as sarama names them; none: no SASL. GSSAPI wants its JAAS configuration in
	// Properties, and OAUTHBEARER what its validator needs.
	Mechanisms []string
	// Passwords of SASL/PLAIN, by user. Those of SCRAM belong to the cluster: WithSCRAMUser.
	Passwords map[string]string

	// Certificate is a PEM file of the server's key and its certificates; none: no TLS.
	Certificate string
	// ClientCAs is a PEM file of certificates. With it, a client must show a certificate that one of them has signed.
	ClientCAs string

	// Properties are further ones of the listener, without their prefix, like "connections.max.reauth.ms".
	Properties map[string]string
}

// WithListener adds a listener to each node, 4 at most.
func WithListener(l Listener) Option {
	return func(c *clusterConfig) { c.listeners = append(c.listeners, l) }
}

// WithSCRAMUser formats the storage with a user who can log in by SCRAM-SHA-256 and SCRAM-SHA-512. It takes Kafka 3.5.
func WithSCRAMUser(user, password string) Option {
	return func(c *clusterConfig) { c.scramUsers[user] = password }
}

// WithJava adds an argument of the Java VM, like a system property.
func WithJava(arg string) Option {
	return func(c *clusterConfig) { c.javaArgs = append(c.javaArgs, arg) }
}

// WithACLs has the nodes check ACLs. The given users may do everything; what others may do is told by Allow. Who comes by
// PLAINTEXT may do everything, too: this package does.
func WithACLs(superUsers ...string) Option {
	return func(c *clusterConfig) {
		super := "User:ANONYMOUS"
		for _, user := range superUsers {
			super += ";User:" + user
		}
		c.properties["authorizer.class.name"] = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
		c.properties["super.users"] = super
	}
}

// Addrs returns host:port of a listener on each node, by broker id.
func (c *Cluster) Addrs(tb testing.TB, listener string) []string {
	tb.Helper()
	at := slices.IndexFunc(c.conf.listeners, func(l Listener) bool { return l.Name == listener })
	if at < 0 {
		tb.Fatalf("kafkatest: there is no listener %q", listener)
	}
	addrs := make([]string, len(c.nodes))
	for i := range c.nodes {
		addrs[i] = c.listenerAddr(at, i)
	}
	return addrs
}

func (c *Cluster) listenerAddr(listener, node int) string {
	return fmt.Sprintf("127.0.0.1:%d", c.slot.listenerPort(listener, node))
}

// addListeners adds the further listeners of node i to its properties.
func (c *Cluster) addListeners(props map[string]string, i int) {
	for at, l := range c.conf.listeners {
		addr := "," + l.Name + "://" + c.listenerAddr(at, i)
		props["listeners"] += addr
		props["advertised.listeners"] += addr
		props["listener.security.protocol.map"] += "," + l.Name + ":" + l.protocol()
		for key, value := range l.properties() {
			props["listener.name."+strings.ToLower(l.Name)+"."+key] = value
		}
	}
}

func (l *Listener) protocol() string {
	switch tls, sasl := l.Certificate != "", len(l.Mechanisms) > 0; {
	case tls && sasl:
		return "SASL_SSL"
	case tls:
		return "SSL"
	case sasl:
		return "SASL_PLAINTEXT"
	}
	return "PLAINTEXT"
}

func (l *Listener) properties() map[string]string {
	props := make(map[string]string)
	if l.Certificate != "" {
		props["ssl.keystore.type"], props["ssl.keystore.location"] = "PEM", l.Certificate
	}
	if l.ClientCAs != "" {
		props["ssl.truststore.type"], props["ssl.truststore.location"] = "PEM", l.ClientCAs
		props["ssl.client.auth"] = "required"
	}
	if len(l.Mechanisms) > 0 {
		props["sasl.enabled.mechanisms"] = strings.Join(l.Mechanisms, ",")
	}
	for _, mechanism := range l.Mechanisms {
		prefix := strings.ToLower(mechanism) + "."
		switch mechanism {
		case "PLAIN":
			jaas := "org.apache.kafka.common.security.plain.PlainLoginModule required"
			for _, user := range slices.Sorted(maps.Keys(l.Passwords)) {
				jaas += fmt.Sprintf(" user_%s=%q", user, l.Passwords[user])
			}
			props[prefix+"sasl.jaas.config"] = jaas + ";"
		case "SCRAM-SHA-256", "SCRAM-SHA-512":
			props[prefix+"sasl.jaas.config"] = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
		case "OAUTHBEARER":
			props[prefix+"sasl.jaas.config"] = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required;"
			props[prefix+"sasl.server.callback.handler.class"] = "org.apache.kafka.common.security.oauthbearer.OAuthBearerValidatorCallbackHandler"
		}
	}
	maps.Copy(props, l.Properties)
	return props
}

// scramArgs are what the storage tool wants of the users.
func (c *clusterConfig) scramArgs() (args []string) {
	for _, user := range slices.Sorted(maps.Keys(c.scramUsers)) {
		for _, mechanism := range []string{"SCRAM-SHA-256", "SCRAM-SHA-512"} {
			args = append(args, "--add-scram", fmt.Sprintf("%s=[name=%s,password=%s]", mechanism, user, c.scramUsers[user]))
		}
	}
	return args
}
