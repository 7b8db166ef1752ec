package oauth

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// script is a source of tokens with a lifetime of 100 s each, unless fail or hang says otherwise.
type script struct {
	calls int
	fail  error
	hang  bool
	delay time.Duration
}

func (s *script) provider(t *testing.T) *TokenProvider {
	return mustProvide(t, Func{Name: "script", Fetch: func(ctx context.Context) (string, time.Time, error) {
		s.calls++
		if s.hang {
			<-ctx.Done()
			return "", time.Time{}, ctx.Err()
		}
		time.Sleep(s.delay) // Of the bubble
		return numbered(s.calls), time.Now().Add(100 * time.Second), s.fail
	}})
}

func TestTokenIsKeptUntil80PercentOfItsLifetime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s script
		p := s.provider(t)
		for _, step := range []struct {
			at   time.Duration
			want int
		}{{0, 1}, {79 * time.Second, 1}, {81 * time.Second, 2}, {160 * time.Second, 2}, {162 * time.Second, 3}, {time.Hour, 4}} {
			start := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
			time.Sleep(time.Until(start.Add(step.at)))
			if got := mustToken(t, p); got != numbered(step.want) {
				t.Errorf("%v: %s, want token %d", step.at, got, step.want)
			}
		}
	})
}

// TestFailedRefresh: the old token is used while it is valid, with a fetch every 10 s; after that the error is told.
func TestFailedRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s script
		p := s.provider(t)
		mustToken(t, p)
		logged.take()
		s.fail = errors.New("closed for today")
		time.Sleep(81 * time.Second)
		for range 30 { // Until 96 s
			if got := mustToken(t, p); got != numbered(1) {
				t.Fatal(got)
			}
			time.Sleep(500 * time.Millisecond)
		}
		if s.calls != 3 {
			t.Errorf("%d fetches, want 3: the first, at 81 s, at 91 s", s.calls)
		}
		if err := p.LastError(); !errors.Is(err, s.fail) || !strings.Contains(err.Error(), "script") {
			t.Errorf("the last error is %v", err)
		}
		if text := logged.take(); strings.Count(text, "closed for today") != 2 || !strings.Contains(text, "script") ||
			strings.Contains(text, numbered(1)) {
			t.Errorf("logged %q", text)
		}
		time.Sleep(5 * time.Second) // 101 s: it has expired, although the pause lasts
		if err := mustFail(t, p, "script", "closed for today"); !errors.Is(err, s.fail) {
			t.Error(err)
		}
		s.fail = nil
		if got := mustToken(t, p); got != numbered(5) || p.LastError() != nil {
			t.Error(got, p.LastError())
		}
	})
}

// TestHangingRefresh: with an old token that is valid a call waits for a second; without one, until the time limit.
func TestHangingRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s script
		p := s.provider(t)
		mustToken(t, p)
		s.hang = true
		time.Sleep(81 * time.Second)
		start := time.Now()
		if got := mustToken(t, p); got != numbered(1) || time.Since(start) != time.Second {
			t.Errorf("%s after %v", got, time.Since(start))
		}
		time.Sleep(time.Minute)
		start = time.Now()
		err := mustFail(t, p, "script", "deadline exceeded")
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// TestOldTokenExpiresMeanwhile: a call that has begun to wait for a second goes on until the time limit.
func TestOldTokenExpiresMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s script
		p := s.provider(t)
		mustToken(t, p)
		s.hang = true
		time.Sleep(99*time.Second + 500*time.Millisecond)
		start := time.Now()
		if err := mustFail(t, p, "script"); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != 10*time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
	})
}

// TestFetchIgnoresContext: the calls end all the same, and there is no second fetch beside the first.
func TestFetchIgnoresContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		calls, release := 0, make(chan struct{})
		p := mustProvide(t, Func{Name: "deaf", Timeout: 3 * time.Second, Fetch: func(context.Context) (string, time.Time, error) {
			calls++
			<-release
			return "late", time.Time{}, nil
		}})
		for range 2 {
			start := time.Now()
			err := mustFail(t, p, "deaf", "3s")
			if !errors.Is(err, os.ErrDeadlineExceeded) || time.Since(start) != 4*time.Second {
				t.Errorf("%v after %v", err, time.Since(start))
			}
		}
		close(release)
		synctest.Wait()
		if got := mustToken(t, p); got != "late" || calls != 1 {
			t.Errorf("%s, %d calls", got, calls)
		}
	})
}

func TestTokenContextConcurrentSafe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := script{delay: 2 * time.Second}
		p := s.provider(t)
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				for range 100 {
					got := mustToken(t, p)
					time.Sleep(time.Second)
					p.Refused("another")
					if got == numbered(1) {
						p.Refused(got)
					}
				}
			})
		}
		cause := errors.New("I have to go")
		ctx, cancel := context.WithCancelCause(t.Context())
		wg.Go(func() {
			start := time.Now()
			if _, err := p.TokenContext(ctx); !errors.Is(err, cause) || time.Since(start) != time.Second {
				t.Errorf("%v after %v", err, time.Since(start))
			}
			// Over from the start
			if _, err := p.TokenContext(ctx); !errors.Is(err, cause) || !strings.Contains(err.Error(), "script") {
				t.Error(err)
			}
		})
		time.Sleep(time.Second)
		cancel(cause)
		wg.Wait()
		if s.calls < 2 || s.calls > 4 { // The first, the one after the refusal, and those after each 80 s
			t.Errorf("%d fetches", s.calls)
		}
	})
}

func TestRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s script
		p := s.provider(t)
		p.Refused("before there is one")
		first := mustToken(t, p)
		p.Refused("another")
		if got := mustToken(t, p); got != first {
			t.Errorf("%s after the refusal of another", got)
		}
		p.Refused(first)
		second := mustToken(t, p)
		p.Refused(first) // Again, by another connection
		if got := mustToken(t, p); second == first || got != second {
			t.Errorf("%s, %s, %s", first, second, got)
		}
		// A refused token does not come back, even if there is no other.
		s.fail = errors.New("closed")
		p.Refused(second)
		mustFail(t, p, "closed")
	})
}

// jwtOf is an unsigned token with this payload.
func jwtOf(payload string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString([]byte(payload)) + ".sig"
}

func TestExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		exp := func(seconds int) string { return jwtOf(fmt.Sprintf(`{"exp":%d}`, now.Unix()+int64(seconds))) }
		for name, test := range map[string]struct {
			token string
			told  time.Time
			want  time.Duration // 0: it had expired
		}{
			"told":                    {"opaque", now.Add(time.Minute), time.Minute},
			"exp":                     {exp(30), time.Time{}, 30 * time.Second},
			"exp is earlier":          {exp(30), now.Add(time.Minute), 30 * time.Second},
			"exp is later":            {exp(90), now.Add(time.Minute), time.Minute},
			"neither":                 {"opaque", time.Time{}, 5 * time.Minute},
			"JWT without exp":         {jwtOf(`{"sub":"me"}`), time.Time{}, 5 * time.Minute},
			"exp has passed":          {exp(-1), time.Time{}, 0},
			"exp has passed, or not":  {exp(-1), now.Add(time.Minute), 0},
			"exp is negative":         {jwtOf(`{"exp":-1e300}`), time.Time{}, 0},
			"told, and it had passed": {"opaque", now.Add(-time.Second), 0},
			"overflow":                {jwtOf(`{"exp":1e300}`), time.Time{}, time.Until(farFuture)},
		} {
			p := mustProvide(t, Func{Name: name, Fetch: func(context.Context) (string, time.Time, error) { return test.token, test.told, nil }})
			if test.want == 0 {
				if err := mustFail(t, p, "expired", name); strings.Contains(err.Error(), test.token) {
					t.Error(err)
				}
				continue
			}
			mustToken(t, p)
			if got := p.current.expires.Sub(now); got != test.want || p.current.refresh.Sub(now) != test.want/100*80 {
				t.Errorf("%s: expires after %v, refresh after %v", name, got, p.current.refresh.Sub(now))
			}
		}
	})
}

func TestTokenThatNoneCanBe(t *testing.T) {
	for _, text := range []string{"", "two tokens", "a\x01host=evil", "a\n", "é"} {
		p := mustProvide(t, Func{Name: "odd", Fetch: func(context.Context) (string, time.Time, error) { return text, time.Time{}, nil }})
		if err := mustFail(t, p, "odd", "the token"); text != "" && strings.Contains(err.Error(), text) {
			t.Error(err)
		}
	}
}

func TestPanicIsAnError(t *testing.T) {
	p := mustProvide(t, Func{Name: "bad", Fetch: func(context.Context) (string, time.Time, error) { panic("oh no\n" + jwtOf("{}")) }})
	for range 2 {
		if err := mustFail(t, p, "bad", "panic", `oh no\n[token]`); strings.Contains(err.Error(), jwtOf("{}")) {
			t.Error(err)
		}
	}
}

// TestExtensions: each caller has its own, and the settings may change afterwards.
func TestExtensions(t *testing.T) {
	extensions := map[string]string{"logicalCluster": "lkc-1"}
	p := mustProvide(t, Func{Name: "ext", Extensions: extensions,
		Fetch: func(context.Context) (string, time.Time, error) { return "token", time.Time{}, nil }})
	clear(extensions)
	for range 2 {
		token, err := p.Token()
		if err != nil || len(token.Extensions) != 1 || token.Extensions["logicalCluster"] != "lkc-1" {
			t.Fatalf("%v, %v", token, err)
		}
		clear(token.Extensions)
	}
}

func FuzzJWTExpiry(f *testing.F) {
	for _, payload := range []string{`{"exp":1700000000}`, `{"exp":1.5e9}`, `{"exp":"soon"}`, `{"exp":1e999}`, `{"exp":null}`, `[]`, ``} {
		f.Add(jwtOf(payload))
	}
	f.Add("a.b")
	f.Add("..")
	f.Fuzz(func(t *testing.T, token string) {
		got := jwtExpiry(token)
		if !got.IsZero() && (got.Before(time.Unix(0, 0)) || got.After(farFuture)) {
			t.Errorf("%v", got)
		}
	})
}

func FuzzClean(f *testing.F) {
	f.Add("plain", "secret")
	f.Add("it is secret\x00\x1b[31m", "secret")
	f.Add(strings.Repeat("é", 500)+jwtOf("{}"), "a+b")
	f.Fuzz(func(t *testing.T, text, secret string) {
		got := clean(text, secret)
		if strings.ContainsFunc(got, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			t.Errorf("a control character: %q", got)
		}
		if len(got) > 12*300 {
			t.Errorf("%d bytes", len(got))
		}
	})
}
