// Package oauth has token providers for SASL/OAUTHBEARER: each is a [sarama.AccessTokenProvider] for
// Net.SASL.TokenProvider, so it works in sarama as well as in sluice.
//
//	tokens, err := oauth.ClientCredentials{
//		TokenURL:         "https://login.example.com/oauth2/token",
//		ClientID:         "billing",
//		ClientSecretFile: "/etc/billing/secret",
//		Scopes:           []string{"kafka"},
//	}.Provider()
//	if err != nil {
//		return err
//	}
//	conf.Net.TLS.Enable = true // A token is as good as a password.
//	conf.Net.SASL.Enable = true
//	conf.Net.SASL.Mechanism = sarama.SASLTypeOAuth
//	conf.Net.SASL.TokenProvider = tokens
//
// There are
//
//   - [ClientCredentials]: the client credentials grant, with a secret or a client assertion (KIP-768, KIP-1258),
//   - [JWTBearer]: the JWT bearer grant (KIP-1139),
//   - [TokenFile]: a token that something else keeps up to date in a file, such as one that Kubernetes projects,
//   - [Func]: any other source. See examples/mskiam for AWS MSK with IAM.
//
// Each has a method Provider, which checks the settings and returns a [*TokenProvider]. The fields tell the settings of
// Kafka's Java client (sasl.oauthbearer.…) that they stand for.
package oauth
