package oauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// ClientCredentials takes access tokens from an identity provider with the client credentials grant (RFC 6749 section 4.4,
// KIP-768). The client authenticates with a secret, or with an assertion (RFC 7523 section 2.2, KIP-1258).
type ClientCredentials struct {
	// TokenURL is the token endpoint. http:// is taken as it is: the secret goes over the network in the clear then.
	// Java: sasl.oauthbearer.token.endpoint.url.
	TokenURL string
	// Issuer is set instead of TokenURL to find the token endpoint by OpenID Connect discovery, at
	// <Issuer>/.well-known/openid-configuration. The document must be of exactly this issuer.
	Issuer string
	// ClientID identifies the client. Java: sasl.oauthbearer.client.credentials.client.id.
	ClientID string
	// ClientSecret is the client's secret. One of ClientSecret, ClientSecretFile and Assertion must be set.
	// Java: sasl.oauthbearer.client.credentials.client.secret.
	ClientSecret string
	// ClientSecretFile has the secret. It is read for each request; white space around the secret does not count.
	ClientSecretFile string
	// Assertion authenticates the client instead of a secret.
	Assertion *Assertion
	// SecretInBody sends id and secret in the request's body (client_secret_post). By default they are in the header
	// Authorization (client_secret_basic), form-encoded as RFC 6749 section 2.3.1 has it
	// (Java: sasl.oauthbearer.header.urlencode=true).
	SecretInBody bool
	// Scopes are the scopes to ask for. Java: sasl.oauthbearer.scope, separated by spaces.
	Scopes []string
	// Params are further parameters of the request, such as audience.
	Params url.Values
	// Extensions are sent to the broker with the token (KIP-342). Java: extension_<name> in sasl.jaas.config.
	Extensions map[string]string
	// Timeout limits a fetch with all its tries. The default is 10 s.
	Timeout time.Duration
	// HTTPClient makes the requests, for a proxy or certificates of one's own. It is not changed. The default is
	// [http.DefaultClient]. Its CheckRedirect is not called: no redirect is followed.
	HTTPClient *http.Client
}

// Provider checks the settings, and reads each file once. An error names the field. Nothing is sent yet.
//
// A fetch asks up to three times if the identity provider can't be reached or answers with a 5xx. Any other answer that is
// no token ends it; errors.As finds the [*EndpointError]. Errors have neither secret nor token. The first of expires_in
// and, if the token is a JWT, exp is when it expires; a token with neither is used for 5 minutes.
func (c ClientCredentials) Provider() (*TokenProvider, error) {
	e, err := newEndpoint(c.Issuer, c.TokenURL, c.HTTPClient)
	if err != nil {
		return nil, err
	}
	if c.ClientID == "" {
		return nil, errors.New("oauth: ClientID is empty")
	}
	if err := c.checkAuthentication(); err != nil {
		return nil, err
	}
	if err := errors.Join(checkScopes(c.Scopes), checkExtensions(c.Extensions), checkParams(c.Params,
		"grant_type", "scope", "client_id", "client_secret", "client_assertion", "client_assertion_type")); err != nil {
		return nil, err
	}
	timeout, err := checkTimeout(c.Timeout)
	if err != nil {
		return nil, err
	}
	c.Scopes, c.Params = slices.Clone(c.Scopes), cloneParams(c.Params)
	name := fmt.Sprintf("client %q at %s", clean(c.ClientID), e.where())
	return newProvider(name, timeout, c.Extensions, false, func(ctx context.Context) (fetched, error) {
		return e.fetch(ctx, c.request)
	}), nil
}

func (c *ClientCredentials) checkAuthentication() error {
	set := 0
	for _, is := range []bool{c.ClientSecret != "", c.ClientSecretFile != "", c.Assertion != nil} {
		if is {
			set++
		}
	}
	switch {
	case set != 1:
		return fmt.Errorf("oauth: one of ClientSecret, ClientSecretFile and Assertion must be set, not %d", set)
	case c.Assertion != nil:
		if c.SecretInBody {
			return errors.New("oauth: SecretInBody is set, but there is no secret with an Assertion")
		}
		assertion, err := c.Assertion.checked(c.ClientID)
		c.Assertion = assertion
		return err
	case c.ClientSecretFile != "":
		if _, err := readFile("ClientSecretFile", c.ClientSecretFile); err != nil {
			return fmt.Errorf("oauth: %w", err)
		}
	}
	return nil
}

func (c *ClientCredentials) request(tokenURL string) (*request, error) {
	req := &request{Config: clientcredentials.Config{
		ClientID: c.ClientID, ClientSecret: c.ClientSecret, Scopes: c.Scopes, EndpointParams: cloneParams(c.Params),
		AuthStyle: oauth2.AuthStyleInHeader,
	}}
	if c.SecretInBody || c.Assertion != nil {
		req.AuthStyle = oauth2.AuthStyleInParams
	}
	var err error
	switch {
	case c.Assertion != nil:
		var assertion string
		assertion, err = c.Assertion.make(tokenURL)
		req.EndpointParams.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		req.EndpointParams.Set("client_assertion", assertion)
		req.secrets = []string{assertion}
	case c.ClientSecretFile != "":
		req.ClientSecret, err = readFile("ClientSecretFile", c.ClientSecretFile)
		req.secrets = secretForms(c.ClientID, req.ClientSecret)
	default:
		req.secrets = secretForms(c.ClientID, req.ClientSecret)
	}
	return req, err
}
