package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"
)

const (
	// answerLimit is the longest answer of an identity provider.
	answerLimit = 1 << 20
	// tries is how often a fetch asks, if the provider can't be reached or answers with a 5xx.
	tries = 3
	// firstRetry is the pause after the first try. It doubles with each (Java: sasl.login.retry.backoff.ms).
	firstRetry = 100 * time.Millisecond
)

var errTooLong = errors.New("the answer has more than 1 MiB")

// endpoint is a token endpoint, or the issuer whose discovery document names it.
type endpoint struct {
	tokenURL *url.URL // Nil: found by discovery
	issuer   string
	client   *http.Client
}

func newEndpoint(issuer, tokenURL string, client *http.Client) (*endpoint, error) {
	e := &endpoint{issuer: issuer}
	var err error
	switch {
	case issuer != "" && tokenURL != "":
		return nil, errors.New("oauth: TokenURL and Issuer are both set")
	case tokenURL != "":
		e.tokenURL, err = checkURL("TokenURL", tokenURL)
	case issuer != "":
		var u *url.URL
		if u, err = checkURL("Issuer", issuer); err == nil && u.RawQuery != "" {
			err = errors.New("oauth: Issuer must not have a query")
		}
	default:
		err = errors.New("oauth: TokenURL and Issuer are both empty")
	}
	if err != nil {
		return nil, err
	}
	if client == nil {
		client = http.DefaultClient
	}
	copied := *client
	// A redirect could carry the secret to another host. Java follows none either.
	copied.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	e.client = &copied
	return e, nil
}

// where is for errors.
func (e *endpoint) where() string {
	if e.tokenURL != nil {
		return shown(e.tokenURL)
	}
	u, _ := url.Parse(e.issuer) // It was checked.
	return shown(u)
}

// request is what one try sends.
type request struct {
	clientcredentials.Config
	secrets []string // None of them may be in an error
}

// fetch asks for a token up to three times. build makes each request: an assertion can be used only once.
func (e *endpoint) fetch(ctx context.Context, build func(tokenURL string) (*request, error)) (fetched, error) {
	for try, pause := 1, firstRetry; ; try, pause = try+1, 2*pause {
		got, again, err := e.try(ctx, build)
		if err == nil || !again || try == tries {
			return got, err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return got, err
		}
	}
}

// try asks once. again: another try may end otherwise.
func (e *endpoint) try(ctx context.Context, build func(tokenURL string) (*request, error)) (_ fetched, again bool, err error) {
	target, prefix := e.tokenURL, ""
	if target == nil {
		if target, again, err = e.discover(ctx); err != nil {
			return fetched{}, again, fmt.Errorf("discovery: %w", err)
		}
		prefix = "token endpoint " + shown(target) + ": "
	}
	req, err := build(target.String())
	if err != nil {
		return fetched{}, false, err
	}
	req.TokenURL = target.String()
	client, seen := e.watched()
	t, err := req.Token(context.WithValue(ctx, oauth2.HTTPClient, client))
	if err != nil {
		again, err = explain(ctx, target, seen, err, req.secrets)
		return fetched{}, again, fmt.Errorf("%s%w", prefix, err)
	}
	return fetched{token: t.AccessToken, expires: t.Expiry, from: prefix}, false, nil
}

// discover asks the issuer for its token endpoint (OpenID Connect Discovery 1.0, section 4).
func (e *endpoint) discover(ctx context.Context) (_ *url.URL, again bool, err error) {
	address := strings.TrimSuffix(e.issuer, "/") + "/.well-known/openid-configuration"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, false, fmt.Errorf("the field Issuer: %w", err) // It was checked: can't be.
	}
	client, seen := e.watched()
	resp, err := client.Do(req)
	if err != nil {
		again, err = explain(ctx, req.URL, seen, err, nil)
		return nil, again, err
	}
	defer resp.Body.Close()
	refused := &EndpointError{URL: shown(req.URL), StatusCode: resp.StatusCode}
	if resp.StatusCode != http.StatusOK {
		refused.Description = seen.about()
		return nil, resp.StatusCode >= 500, refused
	}
	var document struct {
		Issuer   string `json:"issuer"`
		TokenURL string `json:"token_endpoint"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&document); err != nil {
		refused.Description = "not a discovery document (" + seen.about() + ")"
		return nil, false, refused
	}
	if document.Issuer != e.issuer {
		refused.Description = fmt.Sprintf("the document is of issuer %q, not of %q", clean(document.Issuer), e.issuer)
		return nil, false, refused
	}
	target, err := checkURL("token_endpoint", document.TokenURL)
	if err != nil {
		refused.Description = strings.TrimPrefix(err.Error(), "oauth: ")
		return nil, false, refused
	}
	if req.URL.Scheme == "https" && target.Scheme != "https" {
		refused.Description = "the token endpoint has no https, though the issuer has"
		return nil, false, refused
	}
	return target, false, nil
}

// explain makes an error fit to be shown. again: another try may end otherwise.
func explain(ctx context.Context, target *url.URL, seen *watcher, err error, secrets []string) (again bool, _ error) {
	refused := &EndpointError{URL: shown(target), StatusCode: seen.status}
	var answer *oauth2.RetrieveError
	var network *url.Error // It has the URL, with its query.
	switch {
	case errors.As(err, &answer):
		refused.Code = clean(answer.ErrorCode, secrets...)
		if refused.Description = clean(answer.ErrorDescription, secrets...); refused.Code == "" {
			refused.Description = seen.about()
		}
		return seen.status >= 500, refused
	case errors.Is(err, errTooLong):
		refused.Description = errTooLong.Error()
		return false, refused
	case ctx.Err() != nil:
		return false, fmt.Errorf("no answer in time (Timeout): %w", ctx.Err())
	case errors.As(err, &network):
		return true, &external{text: clean(network.Err.Error(), secrets...), cause: network.Err}
	}
	refused.Description = clean(strings.TrimPrefix(err.Error(), "oauth2: "), secrets...) + " (" + seen.about() + ")"
	return false, refused
}

// watched is the client for one request, with what it has seen.
func (e *endpoint) watched() (*http.Client, *watcher) {
	w := &watcher{next: e.client.Transport}
	if w.next == nil {
		w.next = http.DefaultTransport
	}
	client := *e.client
	client.Transport = w
	return &client, w
}

// watcher makes one round trip, and keeps the status and the kind of the answer for errors.
type watcher struct {
	next        http.RoundTripper
	status      int
	contentType string
	location    string
}

// RoundTrip reads the whole answer, which is bounded, so that a connection that breaks in its middle is a failed round
// trip. The connection is not kept: hours may pass until the next one.
func (w *watcher) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Close = true
	req.Header.Set("Accept", "application/json")
	resp, err := w.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, answerLimit+1))
	_ = resp.Body.Close()
	w.status, w.contentType, w.location = resp.StatusCode, resp.Header.Get("Content-Type"), resp.Header.Get("Location")
	if err != nil {
		return nil, err
	}
	if len(body) > answerLimit {
		return nil, errTooLong
	}
	if bytes.HasPrefix(bytes.TrimSpace(body), []byte("{")) {
		// x/oauth2 goes by the type, and takes text/plain for a query. Java looks at the body alone.
		resp.Header.Set("Content-Type", "application/json")
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// about describes an answer that is not what was asked for.
func (w *watcher) about() string {
	if w.location != "" && w.status >= 300 && w.status < 400 {
		to, err := url.Parse(w.location)
		if err != nil {
			return "a redirect, which is not followed"
		}
		return "a redirect to " + shown(to) + ", which is not followed"
	}
	kind, _, err := mime.ParseMediaType(w.contentType)
	if err != nil {
		kind = "no known type"
	}
	return clean(kind)
}
