package flow

import (
	"time"

	"github.com/IBM/sarama"
)

// longestBackoff is longer than any message lives, and short enough for the sums of the producer's clock.
const longestBackoff = 365 * 24 * time.Hour

// Backoff is the pause after that many failures in a row, by Producer.Retry. A BackoffFunc that panics gives the panic
// to sarama.PanicHandler, as every function of the user's, and counts for Retry.Backoff.
func Backoff(conf *sarama.Config, failures int) (pause time.Duration) {
	retry := &conf.Producer.Retry
	pause = retry.Backoff
	if retry.BackoffFunc != nil {
		Guard(func() { pause = retry.BackoffFunc(failures, retry.Max) })
	}
	return min(max(pause, 0), longestBackoff)
}
