package flow

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// A broker that does not answer a dial costs 250 ms, one that does not answer a request a second, one that refuses
// nothing. Attempts that were not fast enough are cancelled.
func TestFirstGood(t *testing.T) {
	type script struct {
		takes   time.Duration // 0: for ever
		reached bool          // at once
		fails   bool
	}
	hole, silent, refuses, good := script{}, script{reached: true}, script{takes: 1, fails: true}, script{takes: 1, reached: true}
	const ms = time.Millisecond
	for name, test := range map[string]struct {
		scripts []script
		want    string // the attempt that won and when
		failed  string
		lost    string
	}{
		"first":               {[]script{good, good}, "0 after 0s", "", ""},
		"refused":             {[]script{refuses, refuses, good}, "2 after 0s", "0 1", ""},
		"black holes":         {[]script{hole, hole, hole, hole, hole, good}, "5 after 1.25s", "", "0 1 2 3 4"},
		"silent":              {[]script{silent, good}, "1 after 1s", "", "0"},
		"mixed":               {[]script{silent, refuses, hole, good}, "3 after 1.25s", "1", "0 2"},
		"slow, but the first": {[]script{{takes: 300 * ms, reached: true}, good}, "0 after 300ms", "", ""},
		"slow dial":           {[]script{{takes: 300 * ms}, hole}, "0 after 300ms", "", "1"},
		"fails late":          {[]script{{takes: 300 * ms, fails: true}, {takes: 400 * ms, reached: true}, good}, "2 after 300ms", "0", "1"},
		"none":                {[]script{refuses, refuses}, "none after 0s", "0 1", ""},
		"nothing to try":      {nil, "none after 0s", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begin := time.Now()
				var failed, lost []string
				next := 0
				won, ok := FirstGood(t.Context(), Race[string]{
					Next: func() Attempt[string] {
						if next == len(test.scripts) {
							return nil
						}
						n := fmt.Sprint(next)
						s := test.scripts[next]
						next++
						return func(ctx context.Context, reached func()) (string, error) {
							if s.reached {
								reached()
							}
							end := time.After(s.takes)
							if s.takes == 0 {
								end = nil
							}
							select {
							case <-end:
								if s.fails {
									return "", errors.New(n)
								}
								return n, nil
							case <-ctx.Done():
								return "", errors.New(n)
							}
						}
					},
					Failed: func(err error) bool { failed = append(failed, err.Error()); return true },
					Lost:   func(_ string, err error) { lost = append(lost, err.Error()) },
				})
				if !ok {
					won = "none"
				}
				slices.Sort(lost)
				got := fmt.Sprint(won, " after ", time.Since(begin).Round(ms))
				if got != test.want || strings.Join(failed, " ") != test.failed || strings.Join(lost, " ") != test.lost {
					t.Errorf("%s, failed %v, lost %v", got, failed, lost)
				}
			})
		})
	}
}

// One refusal that counts for all ends the attempts that run, and no further one is made.
func TestFirstGoodStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		started, lost := 0, 0
		_, ok := FirstGood(t.Context(), Race[int]{
			Next: func() Attempt[int] {
				started++
				second := started == 2
				return func(ctx context.Context, _ func()) (int, error) {
					if second {
						return 0, errors.New("wrong password")
					}
					<-ctx.Done()
					return 0, ctx.Err()
				}
			},
			Failed: func(error) bool { return false },
			Lost:   func(int, error) { lost++ },
		})
		if ok || started != 2 || lost != 1 {
			t.Errorf("%v, %d attempts, %d cancelled", ok, started, lost)
		}
	})
}

// It ends with its context, and a good result that comes after the first one is told as lost.
func TestFirstGoodEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		begin, failures := time.Now(), 0
		_, ok := FirstGood(ctx, Race[int]{
			Next: func() Attempt[int] {
				return func(ctx context.Context, _ func()) (int, error) {
					<-ctx.Done()
					return 0, ctx.Err()
				}
			},
			Failed: func(error) bool { failures++; return true },
			Lost:   func(int, error) { t.Error("lost") },
		})
		if ok || time.Since(begin) != time.Second || failures < 4 {
			t.Errorf("%v after %v, %d failures", ok, time.Since(begin), failures)
		}
	})
}
