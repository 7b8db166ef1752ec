package oauth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

// JWTBearer takes access tokens from an identity provider for an assertion, with the grant type
// urn:ietf:params:oauth:grant-type:jwt-bearer (RFC 7523 section 2.1, KIP-1139; Java: JwtBearerJwtRetriever).
type JWTBearer struct {
	// TokenURL is the token endpoint. http:// is taken as it is: the assertion goes over the network in the clear then.
	// Java: sasl.oauthbearer.token.endpoint.url.
	TokenURL string
	// Issuer is set instead of TokenURL to find the token endpoint by OpenID Connect discovery, at
	// <Issuer>/.well-known/openid-configuration. The document must be of exactly this issuer.
	Issuer string
	// Assertion is the grant.
	Assertion Assertion
	// Scopes are the scopes to ask for. Java: sasl.oauthbearer.scope, separated by spaces.
	Scopes []string
	// Params are further parameters of the request, such as client_id or audience.
	Params url.Values
	// Extensions are sent to the broker with the token (KIP-342). Java: extension_<name> in sasl.jaas.config.
	Extensions map[string]string
	// Timeout limits a fetch with all its tries. The default is 10 s.
	Timeout time.Duration
	// HTTPClient makes the requests, for a proxy or certificates of one's own. It is not changed. The default is
	// [http.DefaultClient]. Its CheckRedirect is not called: no redirect is followed.
	HTTPClient *http.Client
}

// Provider checks the settings, and reads each file once. An error names the field. Nothing is sent yet. What
// [ClientCredentials.Provider] says of tries, errors and expiry is true here too.
func (c JWTBearer) Provider() (*TokenProvider, error) {
	e, err := newEndpoint(c.Issuer, c.TokenURL, c.HTTPClient)
	if err != nil {
		return nil, err
	}
	assertion, err := c.Assertion.checked("")
	if err != nil {
		return nil, err
	}
	if err := errors.Join(checkScopes(c.Scopes), checkExtensions(c.Extensions),
		checkParams(c.Params, "grant_type", "scope", "assertion")); err != nil {
		return nil, err
	}
	timeout, err := checkTimeout(c.Timeout)
	if err != nil {
		return nil, err
	}
	scopes, params := slices.Clone(c.Scopes), cloneParams(c.Params)
	build := func(tokenURL string) (*request, error) {
		grant, err := assertion.make(tokenURL)
		if err != nil {
			return nil, err
		}
		all := cloneParams(params)
		all.Set("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer")
		all.Set("assertion", grant)
		return &request{
			// Without an id, AuthStyleInParams adds nothing.
			Config:  clientcredentials.Config{Scopes: scopes, EndpointParams: all, AuthStyle: oauth2.AuthStyleInParams},
			secrets: append(slices.Clone(params["client_secret"]), grant),
		}, nil
	}
	return newProvider(fmt.Sprintf("JWT bearer grant at %s", e.where()), timeout, c.Extensions, false,
		func(ctx context.Context) (fetched, error) { return e.fetch(ctx, build) }), nil
}

// secretForms are the texts in which a secret is sent.
func secretForms(id, secret string) []string {
	basic := url.QueryEscape(id) + ":" + url.QueryEscape(secret)
	return []string{base64.StdEncoding.EncodeToString([]byte(basic)), secret}
}

func cloneParams(params url.Values) url.Values {
	all := make(url.Values, len(params)+3)
	for name, values := range params {
		all[name] = slices.Clone(values)
	}
	return all
}
