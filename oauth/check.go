package oauth

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/IBM/sarama"
)

// fileLimit is how much of a file is read. Secrets, tokens and keys are far shorter.
const fileLimit = 1 << 20

// checkURL: http is allowed where the setting says so.
func checkURL(field, raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		// The error of url.Parse has the URL, which may have a password.
		return nil, fmt.Errorf("oauth: %s is not a URL", field)
	case u.Scheme != "https" && u.Scheme != "http", u.Hostname() == "":
		return nil, fmt.Errorf("oauth: %s must begin with https:// (or http://) and a host", field)
	case u.User != nil:
		return nil, fmt.Errorf("oauth: %s must not have a user: they belong to ClientID and ClientSecret", field)
	case u.Fragment != "":
		return nil, fmt.Errorf("oauth: %s must not have a fragment", field)
	}
	return u, nil
}

func checkTimeout(d time.Duration) (time.Duration, error) {
	if d < 0 {
		return 0, fmt.Errorf("oauth: Timeout is negative: %v", d)
	}
	if d == 0 {
		d = defaultTimeout
	}
	return d, nil
}

// checkExtensions: names and values as in KIP-342, which are those of RFC 7628.
func checkExtensions(extensions map[string]string) error {
	for name, value := range extensions {
		notLetter := func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }
		notAllowed := func(r rune) bool { return (r < ' ' || r > '~') && r != '\t' && r != '\r' && r != '\n' }
		switch {
		case name == "", strings.ContainsFunc(name, notLetter):
			return fmt.Errorf("oauth: Extensions: the name %q must have letters only (KIP-342)", name)
		case name == sarama.SASLExtKeyAuth:
			return fmt.Errorf("oauth: Extensions: the name %q is reserved (KIP-342)", name)
		case value == "", strings.ContainsFunc(value, notAllowed):
			return fmt.Errorf("oauth: Extensions: the value of %q is empty or has characters other than ASCII (KIP-342)", name)
		}
	}
	return nil
}

func checkScopes(scopes []string) error {
	if slices.Contains(scopes, "") {
		return errors.New("oauth: Scopes: one is empty")
	}
	return nil
}

// checkParams: what other settings say can't be said again.
func checkParams(params url.Values, taken ...string) error {
	for _, name := range taken {
		if params.Has(name) {
			return fmt.Errorf("oauth: Params: %q is set by the other fields", name)
		}
	}
	return nil
}

// readFile returns the content of a file, without the white space around it.
func readFile(field, path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("%s: %w", field, err)
	}
	defer f.Close()
	content, err := io.ReadAll(io.LimitReader(f, fileLimit+1))
	switch {
	case err != nil:
		return "", fmt.Errorf("%s: %w", field, err)
	case len(content) > fileLimit:
		return "", fmt.Errorf("%s: %s has more than 1 MiB", field, path)
	}
	text := strings.TrimSpace(string(content))
	if text == "" {
		return "", fmt.Errorf("%s: %s is empty", field, path)
	}
	return text, nil
}
