package apitest

import (
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"

	"github.com/sluice-kafka/sluice"
)

// mark is in whatever must not be in a log.
const mark = "hushhush"

// No record, at any level, has anything of a message or of what is used to log in, whatever goes wrong.
func TestLogHasNoSecrets(t *testing.T) {
	logins := map[string]func(c *kfake.Cluster, conf *sarama.Config){
		"none": func(*kfake.Cluster, *sarama.Config) {},
		"PLAIN": func(_ *kfake.Cluster, conf *sarama.Config) {
			conf.Net.SASL.Enable = true
			conf.Net.SASL.User, conf.Net.SASL.Password = "user", mark
		},
		"SCRAM": func(_ *kfake.Cluster, conf *sarama.Config) {
			conf.Net.SASL.Enable, conf.Net.SASL.Mechanism = true, sarama.SASLTypeSCRAMSHA256
			conf.Net.SASL.User, conf.Net.SASL.Password = "scram", mark
			conf.Net.SASL.SCRAMClientGeneratorFunc = sluice.SCRAMClient(sarama.SASLTypeSCRAMSHA256)
		},
		"OAUTHBEARER": func(c *kfake.Cluster, conf *sarama.Config) {
			oauth(c, conf, markedToken{})
		},
	}
	for name, login := range logins {
		t.Run(strings.ReplaceAll(name, " ", "_"), func(t *testing.T) {
			opts := []kfake.Opt{kfake.MaxVersions(kversion.V3_9_0())}
			if name != "none" && name != "OAUTHBEARER" {
				opts = append(opts, kfake.EnableSASL(), kfake.Superuser("PLAIN", "user", mark), kfake.Superuser("SCRAM-SHA-256", "scram", mark))
			}
			c := newTopicCluster(t, 2, 2, opts...)
			conf := idempotent(testConfig())
			conf.Producer.Return.Errors, conf.Producer.Return.Successes = false, false
			conf.Producer.Flush.Messages = 4
			conf.Producer.Interceptors = []sarama.ProducerInterceptor{markedPanic{}}
			conf.Producer.MaxMessageBytes = 2000
			conf.Version = sarama.V3_6_0_0
			refusals := countLogins(c)
			login(c, conf)
			log := newBook()
			log.level.Set(slog.LevelDebug)
			p := newAsync(t, c, conf, log.option(), sluice.WithDeliveryTimeout(5*time.Second))

			send(p, nil, markedMessage(""), markedMessage("t"), &sarama.ProducerMessage{Topic: "t", Value: markedEncoder{}},
				&sarama.ProducerMessage{Topic: "t", Value: sarama.StringEncoder(strings.Repeat(mark, 1000))})
			faults := []func(){
				func() { failProduce(c, kerr.NotEnoughReplicas, 1) },
				func() { failProduce(c, kerr.MessageTooLarge, 1) },
				func() { failProduce(c, kerr.InvalidRecord, 1) },
				func() { failProduce(c, kerr.OutOfOrderSequenceNumber, 1) },
				func() { loseConnections(c, 1) },
				func() { move(t, c, 0, 1) },
				func() {
					c.ControlKey(int16(kmsg.Metadata), func(kmsg.Request) (kmsg.Response, error, bool) {
						return nil, errors.New("connection lost"), true
					})
					move(t, c, 0, 0)
				},
			}
			for _, begin := range faults {
				begin()
				for range 4 {
					send(p, markedMessage("t"))
				}
				if err := p.Flush(impatient(t)); err != nil {
					t.Fatal(err)
				}
			}
			if name != "none" {
				refusals.refuse(sarama.ErrSASLAuthenticationFailed, accessDenied, 0)
				loseConnections(c, 1)
				send(p, markedMessage("t"))
				_ = p.Flush(impatient(t))
				log.await(t, "login failed", nil)
			}
			p.Close()
			for _, r := range log.all("") {
				for key, value := range attrs(r) {
					if strings.Contains(value.String(), mark) || strings.Contains(r.Message, mark) {
						t.Errorf("%s: %s=%v", r.Message, key, value)
					}
					if value.Kind() == slog.KindAny {
						t.Errorf("%s: %s is a %T, of which the handler may show anything", r.Message, key, value.Any())
					}
				}
			}
			for _, event := range []string{"retrying", "batch split", "connection lost", "messages failed", "interceptor failed", "request answered"} {
				if len(log.all(event)) == 0 {
					t.Errorf("there was no %q: %s", event, log)
				}
			}
		})
	}
}

func markedMessage(topic string) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{
		Topic: topic, Key: sarama.StringEncoder(mark), Value: sarama.StringEncoder(mark), Metadata: mark,
		Headers: []sarama.RecordHeader{{Key: []byte(mark), Value: []byte(mark)}},
	}
}

// markedEncoder panics with what it should encode.
type markedEncoder struct{}

func (markedEncoder) Encode() ([]byte, error) { panic(mark) }
func (markedEncoder) Length() int             { return len(mark) }

type markedPanic struct{}

func (markedPanic) OnSend(*sarama.ProducerMessage) { panic(mark) }

type markedToken struct{}

func (markedToken) Token() (*sarama.AccessToken, error) {
	return &sarama.AccessToken{Token: mark, Extensions: map[string]string{"tenant": mark}}, nil
}
