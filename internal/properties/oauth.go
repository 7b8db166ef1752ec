package properties

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/sluice-kafka/sluice/oauth"
)

// oauth makes the token provider of OAUTHBEARER, unless a program has set one.
func (s *Settings) oauth(module *loginModule) error {
	conf := &s.Conf.Net.SASL
	c := oauth.ClientCredentials{
		TokenURL:     s.values["sasl.oauthbearer.token.endpoint.url"],
		ClientID:     s.values["sasl.oauthbearer.client.credentials.client.id"],
		ClientSecret: s.values["sasl.oauthbearer.client.credentials.client.secret"],
		Scopes:       strings.Fields(s.values["sasl.oauthbearer.scope"]),
	}
	var err error
	if c.Extensions, err = extensions(s.values["sasl.oauthbearer.extensions"]); err != nil {
		return named(s.name("sasl.oauthbearer.extensions"), err)
	}
	if module != nil {
		if err := s.oauthOptions(module, &c); err != nil {
			return err
		}
	}
	if conf.TokenProvider != nil {
		return nil
	}
	if c.HTTPClient, err = s.httpClient(); err != nil {
		return err
	}
	kind := s.tokenSource(c)
	provider, err := s.provider(kind, c)
	if err != nil {
		return fmt.Errorf("sasl.oauthbearer.*: %w", err)
	}
	conf.TokenProvider = provider
	return nil
}

// oauthOptions are those of an OAuthBearerLoginModule. The settings of the same meaning win over them, as in Java.
func (s *Settings) oauthOptions(module *loginModule, c *oauth.ClientCredentials) error {
	if err := s.expect(module, "OAuthBearerLoginModule"); err != nil {
		return err
	}
	for _, o := range []struct {
		option string
		value  *string
	}{{"clientId", &c.ClientID}, {"clientSecret", &c.ClientSecret}} {
		if given := module.take(o.option); *o.value == "" {
			*o.value = given
		}
	}
	if given := module.take("scope"); len(c.Scopes) == 0 {
		c.Scopes = strings.Fields(given)
	}
	for option, value := range module.options {
		name, ok := strings.CutPrefix(option, "extension_")
		switch {
		case ok:
			if c.Extensions == nil {
				c.Extensions = map[string]string{}
			}
			c.Extensions[name] = value
			delete(module.options, option)
		case strings.HasPrefix(option, "unsecuredLogin"):
			return fmt.Errorf("%s: %s", s.name("sasl.jaas.config"), unsecured)
		}
	}
	return s.nothingLeft(module)
}

// tokenSource is where tokens come from, if sasl.oauthbearer.jwt.retriever.class does not tell.
func (s *Settings) tokenSource(c oauth.ClientCredentials) string {
	if kind := retrieverKind(s.values["sasl.oauthbearer.jwt.retriever.class"]); kind != "" {
		return kind
	}
	switch {
	case strings.HasPrefix(c.TokenURL, "file:"):
		return "file"
	case s.values["sasl.oauthbearer.grant.type"] == grantOfJWT:
		return "assertion"
	}
	return "credentials"
}

func retrieverKind(class string) string {
	kind, _ := oneOf(retrievers, class)
	return kind
}

func (s *Settings) provider(kind string, c oauth.ClientCredentials) (*oauth.TokenProvider, error) {
	switch kind {
	case "file":
		path, err := filePath(c.TokenURL)
		if err != nil {
			return nil, err
		}
		return oauth.TokenFile{Path: path, Extensions: c.Extensions}.Provider()
	case "assertion":
		assertion := s.assertion()
		if assertion == nil {
			return nil, errors.New("sasl.oauthbearer.assertion.file or sasl.oauthbearer.assertion.private.key.file must be set")
		}
		params := url.Values{}
		if c.ClientID != "" {
			params.Set("client_id", c.ClientID)
		}
		if c.ClientSecret != "" {
			return nil, errors.New("a client secret is set, and an assertion takes its place")
		}
		return oauth.JWTBearer{TokenURL: c.TokenURL, Assertion: *assertion, Scopes: c.Scopes, Params: params, Extensions: c.Extensions,
			HTTPClient: c.HTTPClient}.Provider()
	}
	c.Assertion = s.assertion()
	return c.Provider()
}

// filePath is the path of a URL such as file:///var/run/token.
func filePath(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "file" || u.Host != "" && u.Host != "localhost" || u.Path == "" {
		return "", errors.New("sasl.oauthbearer.token.endpoint.url is not of the form file:///path")
	}
	return u.Path, nil
}

// assertion is nil if none of its settings is there.
func (s *Settings) assertion() *oauth.Assertion {
	const prefix = "sasl.oauthbearer.assertion."
	a := oauth.Assertion{
		File:      s.values[prefix+"file"],
		KeyFile:   s.values[prefix+"private.key.file"],
		Algorithm: strings.ToUpper(s.values[prefix+"algorithm"]),
		Issuer:    s.values[prefix+"claim.iss"],
		Subject:   s.values[prefix+"claim.sub"],
		Audience:  s.values[prefix+"claim.aud"],
		Lifetime:  s.seconds(prefix + "claim.exp.seconds"),
		NotBefore: s.seconds(prefix + "claim.nbf.seconds"),
	}
	if a.File == "" && a.KeyFile == "" {
		return nil
	}
	if a.File != "" {
		a = oauth.Assertion{File: a.File, KeyFile: a.KeyFile} // the others are for making one, and have defaults in files
	}
	return &a
}

func (s *Settings) seconds(name string) time.Duration {
	n, _ := digits(s.values[name])
	return time.Duration(n) * time.Second
}

// extensions are name=value pairs. Errors do not have the values.
func extensions(text string) (map[string]string, error) {
	all := map[string]string{}
	for i, pair := range list(text) {
		name, value, ok := strings.Cut(pair, "=")
		if !ok {
			return nil, fmt.Errorf("part %d is not of the form name=value", i+1)
		}
		all[strings.TrimSpace(name)] = strings.TrimSpace(value)
	}
	return all, nil
}

// httpClient is nil for the default one.
func (s *Settings) httpClient() (*http.Client, error) {
	from, err := s.single("https.ca.location", "https.ca.pem")
	if err != nil || from == "" {
		return nil, err
	}
	data, err := s.content(from)
	if err != nil {
		return nil, err
	}
	roots, err := pool(data, "")
	if err != nil {
		return nil, s.inFile(from, err)
	}
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	return &http.Client{Transport: transport}, nil
}
