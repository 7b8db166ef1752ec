package oauth_test

import (
	"fmt"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/oauth"
)

func Example() {
	tokens, err := oauth.ClientCredentials{
		Issuer:       "https://login.example.com",
		ClientID:     "billing",
		ClientSecret: "s3cret",
		Scopes:       []string{"kafka"},
	}.Provider()
	if err != nil {
		fmt.Println(err)
		return
	}
	conf := sarama.NewConfig()
	conf.Net.TLS.Enable = true // A token is as good as a password.
	conf.Net.SASL.Enable = true
	conf.Net.SASL.Mechanism = sarama.SASLTypeOAuth
	conf.Net.SASL.TokenProvider = tokens
	conf.Version = sarama.V2_6_0_0
	fmt.Println(conf.Validate())
	// Output: <nil>
}

// An error names the field that is wrong.
func ExampleTokenFile() {
	_, err := oauth.TokenFile{Path: "/var/run/secrets/tokens/none", Timeout: time.Second}.Provider()
	fmt.Println(err)
	// Output: oauth: Path: open /var/run/secrets/tokens/none: no such file or directory
}
