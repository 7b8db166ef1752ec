package oauth

import (
	"context"
	"fmt"
	"maps"
	"os"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

const (
	defaultTimeout = 10 * time.Second
	// unknownLifetime is for a token that tells no expiry: neither expires_in nor, as a JWT, exp.
	unknownLifetime = 5 * time.Minute
	// refreshAfter is the share of a token's lifetime after which a new one is fetched, in percent (Java's
	// sasl.login.refresh.window.factor).
	refreshAfter = 80
	// refreshWait is how long a call waits for the new token while the old one is still valid.
	refreshWait = time.Second
	// refreshPause is the time after a failed fetch in which none is begun, while the old token is still valid.
	refreshPause = 10 * time.Second
	// grace is how long a call waits longer than a fetch may take. The error of the fetch says more.
	grace = time.Second
)

// TokenProvider gives out access tokens. It is a [sarama.AccessTokenProvider], for Net.SASL.TokenProvider. One provider may
// serve any number of producers, consumers and clients; its methods may be called concurrently. There is nothing to close.
//
// A token is kept until it expires. One fetch runs at a time, and all callers share its outcome. When 80 % of the token's
// lifetime is over, the next call fetches a new one. If that fails, or takes longer than a second, the call returns
// the old token as long as it is valid; the failure is logged through [sarama.Logger], and the next fetch is 10 s later. A producer
// with sluice.WithLogger logs it there, too.
type TokenProvider struct {
	name       string // With the endpoint or file, for errors
	timeout    time.Duration
	extensions map[string]string
	fetch      func(context.Context) (fetched, error)
	// everyCall: fetching costs next to nothing, so each call does it.
	everyCall bool

	mu      sync.Mutex
	current *token
	flight  *flight   // Is running
	pause   time.Time // No fetch before, while current is valid
	failed  error     // Why the last fetch did; nil if it did not
}

// fetched is what a source has found out.
type fetched struct {
	token   string
	expires time.Time // Zero if the source does not tell
	from    string    // For errors, if the name does not say it: ends with ": "
}

type token struct {
	text             string
	refresh, expires time.Time
}

// flight is one fetch. Its outcome is there when done is closed.
type flight struct {
	done  chan struct{}
	token *token
	err   error
}

// Token returns a valid token. It is TokenContext without a context: the setting Timeout limits it.
func (p *TokenProvider) Token() (*sarama.AccessToken, error) {
	return p.TokenContext(context.Background())
}

// TokenContext returns a valid token, or why there is none. It returns when ctx ends; the fetch goes on for other callers,
// within its own time limit (the setting Timeout). The token is the caller's.
func (p *TokenProvider) TokenContext(ctx context.Context) (*sarama.AccessToken, error) {
	if ctx.Err() != nil {
		return nil, p.named(fmt.Errorf("waiting for a token: %w", context.Cause(ctx)))
	}
	old, f := p.begin()
	if f == nil {
		return p.access(old), nil
	}
	limit := time.NewTimer(p.timeout + grace)
	defer limit.Stop()
	var refresh <-chan time.Time
	if old != nil {
		refresh = time.After(refreshWait)
	}
	for {
		select {
		case <-f.done:
			if f.err == nil {
				return p.access(f.token), nil
			}
			if t := p.valid(); t != nil {
				return p.access(t), nil
			}
			return nil, f.err
		case <-ctx.Done():
			return nil, p.named(fmt.Errorf("waiting for a token: %w", context.Cause(ctx)))
		case <-refresh:
			if t := p.valid(); t != nil {
				return p.access(t), nil
			}
			refresh = nil // The old token has expired or was refused meanwhile.
		case <-limit.C:
			return nil, p.named(fmt.Errorf("no token within %v (Timeout): %w", p.timeout, os.ErrDeadlineExceeded))
		}
	}
}

// LastError returns why the last fetch of a token failed, or nil if it succeeded. Producers ask for it at each login that succeeds, and
// log it as "token not renewed". The error holds no secret and no token, unless the function of a Func puts one into it.
func (p *TokenProvider) LastError() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.failed
}

// begin returns the current token, nil unless it is valid, and the fetch to wait for, nil for none. It starts the fetch if
// none is running.
func (p *TokenProvider) begin() (*token, *flight) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	var old *token
	if p.current.valid(now) {
		old = p.current
	}
	if old != nil && (now.Before(old.refresh) || now.Before(p.pause)) {
		return old, nil
	}
	if p.flight == nil {
		p.flight = &flight{done: make(chan struct{})}
		go p.run(p.flight)
	}
	return old, p.flight
}

// valid returns the current token, nil unless it is valid.
func (p *TokenProvider) valid() *token {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current.valid(time.Now()) {
		return p.current
	}
	return nil
}

// run is the goroutine of one fetch. It ends when the fetch does, which Timeout limits.
func (p *TokenProvider) run(f *flight) {
	ctx, cancel := context.WithTimeout(context.Background(), p.timeout)
	defer cancel()
	f.token, f.err = p.once(ctx)

	p.mu.Lock()
	defer p.mu.Unlock()
	p.flight, p.failed = nil, f.err
	now := time.Now()
	if f.err == nil {
		p.current, p.pause = f.token, time.Time{}
	} else if p.current.valid(now) {
		p.pause = now.Add(refreshPause)
		sarama.Logger.Printf("sluice: %v; the last token is used, it is valid for another %v\n", f.err,
			p.current.expires.Sub(now).Round(time.Second))
	}
	close(f.done)
}

// once fetches one token and checks it. A panic of the user's code is an error.
func (p *TokenProvider) once(ctx context.Context) (_ *token, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = p.named(fmt.Errorf("panic: %s", clean(fmt.Sprint(cause))))
		}
	}()
	got, err := p.fetch(ctx)
	if err != nil {
		return nil, p.named(err)
	}
	if err := checkToken(got.token); err != nil {
		return nil, p.named(fmt.Errorf("%s%w", got.from, err))
	}
	now := time.Now()
	expires := earliest(got.expires, jwtExpiry(got.token))
	if expires.IsZero() {
		expires = now.Add(unknownLifetime)
	}
	if !expires.After(now) {
		return nil, p.named(fmt.Errorf("%sthe token had expired at %s already; is the clock of this machine right? It is %s here",
			got.from, expires.UTC().Format(time.RFC3339), now.UTC().Format(time.RFC3339)))
	}
	// Wall clock: the monotonic one may stand still while the machine sleeps.
	t := &token{text: got.token, expires: expires.Round(0), refresh: now.Add(expires.Sub(now) / 100 * refreshAfter).Round(0)}
	if p.everyCall {
		t.refresh = now
	}
	return t, nil
}

// Refused tells that a broker has refused this token: the next call fetches another, unless the provider has one already.
func (p *TokenProvider) Refused(token string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.current != nil && p.current.text == token {
		p.current = nil
	}
}

func (p *TokenProvider) access(t *token) *sarama.AccessToken {
	return &sarama.AccessToken{Token: t.text, Extensions: maps.Clone(p.extensions)}
}

func (p *TokenProvider) named(err error) error { return fmt.Errorf("oauth: %s: %w", p.name, err) }

// valid is false for nil.
func (t *token) valid(now time.Time) bool { return t != nil && now.Before(t.expires) }

// earliest is the earlier of two times, of which zero is none.
func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}
