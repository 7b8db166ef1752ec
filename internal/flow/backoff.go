package flow

import (
	"time"

	"github.com/IBM/sarama"
)

// longestBackoff bounds a pause. It outlasts any message, and adding it to the producer's clock does not overflow.
const longestBackoff = 365 * 24 * time.Hour

// mostRetries is the largest retry number that a BackoffFunc gets. Many of them, sarama's own included, double the
// pause with each retry, and overflow soon after.
const mostRetries = 30

// Backoff is the pause before a retry, by Producer.Retry, after that many failures in a row.
func Backoff(conf *sarama.Config, failures int) time.Duration {
	retry := &conf.Producer.Retry
	return backoff(retry.Backoff, retry.BackoffFunc, failures, retry.Max)
}

// TxnBackoff is the pause before a request of the transactional producer is tried again, by Producer.Transaction.Retry, after
// that many failures in a row. As in sarama, a BackoffFunc gets 0 for the first retry.
func TxnBackoff(conf *sarama.Config, failures int) time.Duration {
	retry := &conf.Producer.Transaction.Retry
	return backoff(retry.Backoff, retry.BackoffFunc, max(failures-1, 0), retry.Max)
}

// MetadataBackoff is the pause before a look-up of metadata is tried again, by Metadata.Retry. As in sarama, retries is 0
// for the first one.
func MetadataBackoff(conf *sarama.Config, retries int) time.Duration {
	retry := &conf.Metadata.Retry
	return backoff(retry.Backoff, retry.BackoffFunc, retries, retry.Max)
}

// backoff returns byUser's pause if there is such a function and retries are allowed, else pause. byUser never gets a
// retry number above most. If it panics, sarama.PanicHandler gets the panic and pause is used.
func backoff(pause time.Duration, byUser func(retries, most int) time.Duration, failures, most int) time.Duration {
	if byUser != nil && most > 0 {
		Guard(func() { pause = byUser(min(failures, most, mostRetries), most) })
	}
	return min(max(pause, 0), longestBackoff)
}
