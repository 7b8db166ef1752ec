package flow

import (
	"time"

	"github.com/IBM/sarama"
)

// longestBackoff is longer than any message lives, and short enough for the sums of the producer's clock.
const longestBackoff = 365 * 24 * time.Hour

// mostRetries is the largest number of a retry that a BackoffFunc is given: many, sarama's own among them, double their
// pause with each, which overflows soon after.
const mostRetries = 30

// Backoff is the pause before a retry, by Producer.Retry; failures is how often it failed in a row.
func Backoff(conf *sarama.Config, failures int) time.Duration {
	retry := &conf.Producer.Retry
	return backoff(retry.Backoff, retry.BackoffFunc, failures, retry.Max)
}

// TxnBackoff is the pause before a producer id is asked for again, by Producer.Transaction.Retry, as in sarama.
func TxnBackoff(conf *sarama.Config, failures int) time.Duration {
	retry := &conf.Producer.Transaction.Retry
	return backoff(retry.Backoff, retry.BackoffFunc, failures, retry.Max)
}

// MetadataBackoff is the pause before a look-up of metadata is tried again, by Metadata.Retry. As in sarama, retries is 0
// for the first one.
func MetadataBackoff(conf *sarama.Config, retries int) time.Duration {
	retry := &conf.Metadata.Retry
	return backoff(retry.Backoff, retry.BackoffFunc, retries, retry.Max)
}

// backoff gives the user's function no number that it need not expect: never more than most, and none where nothing is
// ever retried. If it panics, that goes to sarama.PanicHandler, and the plain pause counts.
func backoff(pause time.Duration, byUser func(retries, most int) time.Duration, failures, most int) time.Duration {
	if byUser != nil && most > 0 {
		Guard(func() { pause = byUser(min(failures, most, mostRetries), most) })
	}
	return min(max(pause, 0), longestBackoff)
}
