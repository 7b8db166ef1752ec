package oauth

import (
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/sluice-kafka/sluice/internal/flow"
)

// EndpointError is what an identity provider answered instead of a token. Its texts have at most 300 characters, with
// control characters escaped, and without what was sent to authenticate.
type EndpointError struct {
	// URL has neither user nor query.
	URL string
	// StatusCode is of HTTP.
	StatusCode int
	// Code is the field error of the answer (RFC 6749 section 5.2), such as "invalid_client". It may be empty.
	Code string
	// Description is the field error_description, or what else is known of the answer. It may be empty.
	Description string
}

// Error does not have the URL: the error around it does.
func (e *EndpointError) Error() string {
	text := strings.TrimSpace(fmt.Sprintf("HTTP %d %s", e.StatusCode, http.StatusText(e.StatusCode)))
	for _, more := range []string{e.Code, e.Description} {
		if more != "" {
			text += ": " + more
		}
	}
	return text
}

// external is an error with a text from outside, made fit to be shown.
type external struct {
	text  string
	cause error
}

func (e *external) Error() string { return e.text }

func (e *external) Unwrap() error { return e.cause }

// looksLikeJWT: the header of a JWT is a JSON object, whose first bytes are always encoded like this.
var looksLikeJWT = regexp.MustCompile(`eyJ[A-Za-z0-9_-]{4,}(\.[A-Za-z0-9_-]*)*`)

// clean makes a text from outside fit to be shown: without these secrets and without any JWT, with control characters
// escaped, and bounded.
func clean(text string, secrets ...string) string {
	var hidden []string
	for _, secret := range secrets {
		if secret != "" {
			hidden = append(hidden, secret, "[secret]", url.QueryEscape(secret), "[secret]")
		}
	}
	text = strings.NewReplacer(hidden...).Replace(text)
	text = looksLikeJWT.ReplaceAllString(text, "[token]")
	return flow.BrokerText(text)
}

// shown is a URL without user, query and fragment.
func shown(u *url.URL) string {
	return clean((&url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}).String())
}
