package oauth

import (
	"context"
	"errors"
	"maps"
	"time"
)

// Func makes a provider of a function, for tokens that come from elsewhere, like those of a cloud's own library.
type Func struct {
	// Name says in errors what the tokens are of.
	Name string
	// Fetch returns a new token and when it expires. A zero time means: at exp, if the token is a JWT, else in 5 minutes.
	// It is called on a goroutine of its own, never twice at the same time, and must return when ctx ends. Its errors are
	// passed on as they are, so they must not have secrets.
	Fetch func(ctx context.Context) (token string, expires time.Time, err error)
	// Extensions are sent to the broker with the token (KIP-342).
	Extensions map[string]string
	// Timeout limits one call of Fetch. The default is 10 s.
	Timeout time.Duration
}

// Provider checks the settings. An error names the field.
func (c Func) Provider() (*TokenProvider, error) {
	if c.Name == "" {
		return nil, errors.New("oauth: Name is empty")
	}
	if c.Fetch == nil {
		return nil, errors.New("oauth: Fetch is nil")
	}
	timeout, err := checkTimeout(c.Timeout)
	if err != nil {
		return nil, err
	}
	if err := checkExtensions(c.Extensions); err != nil {
		return nil, err
	}
	return newProvider(c.Name, timeout, c.Extensions, false, func(ctx context.Context) (fetched, error) {
		text, expires, err := c.Fetch(ctx)
		return fetched{token: text, expires: expires}, err
	}), nil
}

func newProvider(name string, timeout time.Duration, extensions map[string]string, everyCall bool,
	fetch func(context.Context) (fetched, error)) *TokenProvider {
	return &TokenProvider{name: name, timeout: timeout, extensions: maps.Clone(extensions), everyCall: everyCall, fetch: fetch}
}
