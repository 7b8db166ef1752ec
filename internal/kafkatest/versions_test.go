//go:build unix

package kafkatest

import (
	"flag"
	"slices"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

var versions VersionList

func init() {
	flag.Var(&versions, "versions", "start these versions of Kafka, with commas between, or all")
}

// TestEachVersion starts three nodes of each version that -versions names.
func TestEachVersion(t *testing.T) {
	if len(versions) == 0 {
		t.Skip("no -versions: half a minute each, and jars to fetch")
	}
	for _, v := range versions {
		t.Run(v, func(t *testing.T) {
			c := Start(t, 3, Version(v))
			for _, r := range releases {
				if got := produceVersion(t, c); r.version == v && got != r.produce {
					t.Errorf("takes Produce up to version %d, want %d", got, r.produce)
				}
			}
			outliveALeader(t, c)
			c.Stop(t, 1)
			c.Restart(t, 1)
			wantLogOfFailure(t, Version(v))
		})
	}
}

// produceVersion asks node 0 for the newest Produce request that it takes.
func produceVersion(t *testing.T, c *Cluster) int16 {
	t.Helper()
	resp, err := newClient(t, c).SeedBrokers()[0].Request(testContext(t), apiVersionsRequest())
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range resp.(*kmsg.ApiVersionsResponse).ApiKeys {
		if key.ApiKey == int16(kmsg.Produce) {
			return key.MaxVersion
		}
	}
	t.Fatal("ApiVersions does not name Produce")
	return 0
}

func TestVersionList(t *testing.T) {
	for _, test := range []struct {
		text string
		want []string
	}{
		{"all", Versions()},
		{"3.9.1", []string{"3.9.1"}},
		{"4.4.0,3.3.2", []string{"4.4.0", "3.3.2"}},
	} {
		var l VersionList
		if err := l.Set(test.text); err != nil || !slices.Equal(l, test.want) {
			t.Errorf("%q gives %v, error %v, want %v", test.text, l, err, test.want)
		}
	}
	for _, text := range []string{"", "newest", "3.9", "4.4.0,", "../4.4.0", "<4.4.0>"} {
		if err := new(VersionList).Set(text); err == nil || !strings.Contains(err.Error(), "want one like") {
			t.Errorf("%q: error %v, want one that says how a version is written", text, err)
		}
	}
	if !slices.Contains(Versions(), defaultVersion) {
		t.Errorf("the default, %s, is none of %v", defaultVersion, Versions())
	}
	if _, err := start(1, Version("newest")); err == nil || isUnavailable(err) {
		t.Errorf("start of a version that is none: error %v, want one that fails the test", err)
	}
}

func TestPomNamesTheVersion(t *testing.T) {
	if text := pom("9.8.7"); !strings.Contains(text, "<artifactId>kafka_2.13</artifactId><version>9.8.7</version>") {
		t.Errorf("want Kafka 9.8.7 in %s", text)
	}
}
