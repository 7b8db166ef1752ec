package oauth

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// TokenFile takes access tokens from a file that something else keeps up to date, such as a service account's token that
// Kubernetes projects into a pod (Java: FileJwtRetriever).
type TokenFile struct {
	// Path is the file. It has the token alone; white space around it does not count.
	// Java: sasl.oauthbearer.token.endpoint.url with file://.
	Path string
	// Extensions are sent to the broker with the token (KIP-342).
	Extensions map[string]string
	// Timeout limits how long a call waits for the file. The default is 10 s.
	Timeout time.Duration
}

// Provider checks the settings and reads the file once. An error names the field.
//
// The file is read for each login. If it can't be read, is empty or has an expired JWT, the token from before is used as
// long as it is valid: until exp if it is a JWT, else for 5 minutes after it was read.
func (c TokenFile) Provider() (*TokenProvider, error) {
	if c.Path == "" {
		return nil, errors.New("oauth: Path is empty")
	}
	timeout, err := checkTimeout(c.Timeout)
	if err != nil {
		return nil, err
	}
	if err := checkExtensions(c.Extensions); err != nil {
		return nil, err
	}
	if _, err := readFile("Path", c.Path); err != nil {
		return nil, fmt.Errorf("oauth: %w", err)
	}
	return newProvider("token file "+c.Path, timeout, c.Extensions, true, func(context.Context) (fetched, error) {
		text, err := readFile("Path", c.Path)
		return fetched{token: text}, err
	}), nil
}
