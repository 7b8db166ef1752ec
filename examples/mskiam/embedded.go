package main

import (
	"encoding/base64"
	"os"
	"strings"
	"sync/atomic"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// startEmbedded starts a Kafka within this process that takes each token of MSK's form, whoever has signed it. logins counts
// them.
func startEmbedded(topic string) (cluster *kfake.Cluster, logins *atomic.Int32, err error) {
	cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, topic))
	if err != nil {
		return nil, nil, err
	}
	logins = new(atomic.Int32)
	cluster.ControlKey(int16(kmsg.SASLHandshake), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		return req.ResponseKind(), nil, true
	})
	cluster.ControlKey(int16(kmsg.SASLAuthenticate), func(req kmsg.Request) (kmsg.Response, error, bool) {
		cluster.KeepControl()
		token, ok := strings.CutPrefix(string(req.(*kmsg.SASLAuthenticateRequest).SASLAuthBytes), "n,,\x01auth=Bearer ")
		resp := req.ResponseKind().(*kmsg.SASLAuthenticateResponse)
		if raw, err := base64.RawURLEncoding.DecodeString(strings.Trim(token, "\x01")); !ok || err != nil || !strings.HasPrefix(string(raw), "https://kafka.") {
			resp.ErrorCode = int16(sarama.ErrSASLAuthenticationFailed)
		}
		logins.Add(1)
		return resp, nil, true
	})
	return cluster, logins, nil
}

// useNobodysCredentials has AWS's libraries sign with a key that is worth nothing.
func useNobodysCredentials() {
	os.Setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
	os.Setenv("AWS_SECRET_ACCESS_KEY", "example")
	os.Setenv("AWS_SESSION_TOKEN", "")
}
