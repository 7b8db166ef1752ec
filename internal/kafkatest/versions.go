//go:build unix

package kafkatest

import (
	"fmt"
	"regexp"
	"strings"
)

// defaultVersion is not the newest: README's numbers were measured on it, and a test that begins to fail must point to
// a change here, not to a new broker.
const defaultVersion = "4.1.0"

// releases are the versions that are tried, oldest first, with the newest Produce request that each takes. Nothing else
// need differ (TestEachVersion tries it):
//   - properties: a broker ignores those that it doesn't know, as Kafka 3 does share.coordinator's
//   - logging: all use slf4j 1.7, so log4j 2 serves also Kafka 3, which ships an older one
//   - format: all have the same tool, which sets each version's own default features, as transaction.version
//   - quorum: all know a fixed list of voters, controller.quorum.voters
var releases = []struct {
	version string
	produce int16
}{
	{"3.3.2", 9},         // the first line with KRaft for production
	{"3.9.2", 11},        // the last before 4.0: Produce 10 names the new leader (KIP-951), 11 is for transactions (KIP-890)
	{defaultVersion, 13}, // Produce 13 names topics by id (KIP-516)
	{"4.4.0", 13},        // the newest
}

// Versions returns the versions of Kafka that are tried, oldest first.
func Versions() []string {
	var all []string
	for _, r := range releases {
		all = append(all, r.version)
	}
	return all
}

// Version has the cluster run a version of Kafka, like "3.9.2": any from 3.3 on that mvn finds. The default is one of
// Versions.
func Version(version string) Option {
	return func(c *clusterConfig) { c.version = version }
}

// VersionList is a flag's value: versions with commas between them, or "all" for Versions.
type VersionList []string

func (l *VersionList) String() string { return strings.Join(*l, ",") }

// Set is flag.Value's. It replaces what was set before.
func (l *VersionList) Set(text string) error {
	if text == "all" {
		*l = Versions()
		return nil
	}
	list := strings.Split(text, ",")
	for _, v := range list {
		if err := checkVersion(v); err != nil {
			return err
		}
	}
	*l = list
	return nil
}

var versionForm = regexp.MustCompile(`^\d+\.\d+\.\d+$`)

// checkVersion refuses what is no version's name, because the name goes into a path and into a pom.
func checkVersion(version string) error {
	if !versionForm.MatchString(version) {
		return fmt.Errorf("kafkatest: version %q, want one like %s", version, defaultVersion)
	}
	return nil
}
