package apitest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A topic that was written to once, and then deleted, stays deleted, however often metadata are refreshed. A message to it
// creates it again where Metadata.AllowAutoTopicCreation is set, and fails where it is not.
func TestDeletedTopicStaysDeleted(t *testing.T) {
	for name, creates := range map[string]bool{"created by a message": true, "not created": false} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(t *testing.T, v *virtual) {
				conf := v.config()
				conf.Metadata.AllowAutoTopicCreation = creates
				conf.Metadata.RefreshFrequency = 300 * time.Millisecond
				p := newAsync(t, v.Cluster, conf)
				if err := v.CreateTopic("t", 1, nil); err != nil {
					t.Fatal(err)
				}
				send(p, message(0, 0))
				successes(t, p, 1)
				if err := v.DeleteTopic("t"); err != nil {
					t.Fatal(err)
				}
				for range 20 {
					time.Sleep(300 * time.Millisecond)
					synctest.Wait()
					if v.TopicInfo("t") != nil {
						t.Fatal("the topic is back, and nobody wrote to it")
					}
				}
				// Nor does a look-up of another topic, which may be created, bring it back.
				send(p, &sarama.ProducerMessage{Topic: "other"})
				if creates {
					successes(t, p, 1)
				} else {
					wantError(t, receive(t, p.Errors()).Err, causes(sarama.ErrUnknownTopicOrPartition), "other")
				}
				time.Sleep(time.Second)
				if v.TopicInfo("t") != nil {
					t.Fatal("the topic is back with the look-up of another")
				}

				send(p, message(0, 1))
				if !creates {
					receive(t, p.Errors())
					if v.TopicInfo("t") != nil {
						t.Error("the topic is back although Metadata.AllowAutoTopicCreation is false")
					}
				} else if got := successes(t, p, 1)[0]; got.Offset != 0 {
					t.Errorf("offset %d in the new topic", got.Offset)
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
			}, kfake.AllowAutoTopicCreation(), kfake.DefaultNumPartitions(1))
		})
	}
}

// A topic that a message could not create, since the message was given up, is not created behind its back.
func TestRefusedTopicIsNotCreatedLater(t *testing.T) {
	inBubble(t, func(t *testing.T, v *virtual) {
		conf := v.config()
		conf.Metadata.RefreshFrequency = 300 * time.Millisecond
		conf.Metadata.Retry.Max = 1
		var creating, refreshing int
		v.ControlKey(int16(kmsg.Metadata), func(kreq kmsg.Request) (kmsg.Response, error, bool) {
			v.KeepControl()
			req := kreq.(*kmsg.MetadataRequest)
			for range req.Topics {
				if req.AllowAutoTopicCreation {
					creating++
				} else {
					refreshing++
				}
			}
			req.AllowAutoTopicCreation = false // this cluster's disks are full
			return nil, nil, false
		})
		p := newAsync(t, v.Cluster, conf)
		send(p, message(0, 0))
		wantError(t, receive(t, p.Errors()).Err, causes(sarama.ErrUnknownTopicOrPartition))
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if creating != 2 || refreshing == 0 {
			t.Errorf("%d look-ups that may create the topic, want those two that the message waited for; %d others", creating, refreshing)
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	}, kfake.AllowAutoTopicCreation())
}
