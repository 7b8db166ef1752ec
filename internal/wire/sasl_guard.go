package wire

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/IBM/sarama"

	"github.com/sluice-kafka/sluice/internal/flow"
	"github.com/sluice-kafka/sluice/internal/scram"
)

// loginGuard stands before the user's code in a login: what panics or never returns there fails this login and nothing else,
// under its own name.
type loginGuard struct {
	ctx    context.Context
	dialer *Dialer
	asking atomic.Bool // Net.SASL.TokenProvider is being asked
	token  string      // that it returned; sarama's Broker uses it before the login ends
}

// mostTokenCalls is how many calls of the token provider may be left behind, since they do not return, before no more are made.
const mostTokenCalls = 16

// wrap puts the guard before the user's code in conf.
func (g *loginGuard) wrap(conf *sarama.Config) {
	sasl := &conf.Net.SASL
	if provider := sasl.TokenProvider; provider != nil {
		sasl.TokenProvider = guardedProvider{g, provider}
	}
	if generate := sasl.SCRAMClientGeneratorFunc; generate != nil {
		sasl.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient {
			c := &guardedSCRAM{}
			flow.Guard(func() { c.client = generate() })
			return c
		}
	}
	if build := sasl.GSSAPI.BuildSpn; build != nil {
		sasl.GSSAPI.BuildSpn = func(service, host string) (spn string) {
			flow.Guard(func() { spn = build(service, host) })
			return spn
		}
	}
}

// late says what a login that took limit was waiting for.
func (g *loginGuard) late(limit time.Duration) string {
	if g.asking.Load() {
		return fmt.Sprintf("Net.SASL.TokenProvider has not returned for %v (Net.DialTimeout)", limit)
	}
	return fmt.Sprintf("not ended after %v (Net.DialTimeout)", limit)
}

// guardedProvider asks the user's token provider on a goroutine of its own, which is left behind if the login ends first.
type guardedProvider struct {
	*loginGuard
	provider sarama.AccessTokenProvider
}

// Token implements sarama.AccessTokenProvider.
func (p guardedProvider) Token() (*sarama.AccessToken, error) {
	if p.dialer.tokenCalls.Add(1) > mostTokenCalls {
		p.dialer.tokenCalls.Add(-1)
		return nil, fmt.Errorf("Net.SASL.TokenProvider: %d calls have not returned", mostTokenCalls)
	}
	type result struct {
		token *sarama.AccessToken
		err   error
	}
	p.asking.Store(true)
	results := make(chan result, 1)
	go func() {
		defer p.dialer.tokenCalls.Add(-1)
		r := result{err: errors.New("it panicked, see sarama.PanicHandler")}
		flow.Guard(func() {
			if withContext, ok := p.provider.(tokenProvider); ok {
				r.token, r.err = withContext.TokenContext(p.ctx)
			} else {
				r.token, r.err = p.provider.Token()
			}
		})
		results <- r
	}()
	select {
	case r := <-results:
		p.asking.Store(false)
		switch {
		case r.err != nil:
			return nil, fmt.Errorf("Net.SASL.TokenProvider: %w", r.err)
		case r.token == nil || r.token.Token == "":
			return nil, errors.New("Net.SASL.TokenProvider returned no token")
		}
		p.token = r.token.Token
		return r.token, nil
	case <-p.ctx.Done():
		return nil, flow.ContextError(p.ctx)
	}
}

// tokenProvider is what the providers of package oauth have besides Token.
type tokenProvider interface {
	TokenContext(ctx context.Context) (*sarama.AccessToken, error)
	// Refused says that a broker has refused a token.
	Refused(token string)
}

// tokenRefused tells whether err is a broker's refusal of a token, so that a fresh one may be taken. It tells the provider.
func (d *Dialer) tokenRefused(err error) bool {
	refused, ok := errors.AsType[*AuthError](err)
	if !ok || !refused.Refused || refused.Mechanism != sarama.SASLTypeOAuth || !errors.Is(err, sarama.ErrSASLAuthenticationFailed) {
		return false
	}
	if provider, ok := d.conf.Net.SASL.TokenProvider.(tokenProvider); ok {
		flow.Guard(func() { provider.Refused(refused.token) })
	}
	return true
}

// guardedSCRAM is a SCRAM client of the user's that is not asked for more iterations than Kafka ever has.
type guardedSCRAM struct {
	client sarama.SCRAMClient
	steps  int
}

var errSCRAMPanicked = errors.New("the client of Net.SASL.SCRAMClientGeneratorFunc panicked, see sarama.PanicHandler")

// Begin implements sarama.SCRAMClient.
func (g *guardedSCRAM) Begin(user, password, authzID string) error {
	if g.client == nil {
		return errors.New("Net.SASL.SCRAMClientGeneratorFunc returned no client")
	}
	err := errSCRAMPanicked
	flow.Guard(func() { err = g.client.Begin(user, password, authzID) })
	return err
}

// Step implements sarama.SCRAMClient. Its second challenge names the iterations.
func (g *guardedSCRAM) Step(challenge string) (string, error) {
	if g.steps++; g.steps == 2 {
		if err := scram.CheckIterations([]byte(challenge)); err != nil {
			return "", err
		}
	}
	answer, err := "", errSCRAMPanicked
	flow.Guard(func() { answer, err = g.client.Step(challenge) })
	if err != nil {
		return "", shown(err) // it may quote the broker, and sarama logs it
	}
	return answer, nil
}

// Done implements sarama.SCRAMClient.
func (g *guardedSCRAM) Done() (done bool) {
	flow.Guard(func() { done = g.client.Done() })
	return done
}
