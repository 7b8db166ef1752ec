package wire

import (
	"github.com/IBM/sarama"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

const (
	keyProduce          = 0
	keyMetadata         = 3
	keyApiVersions      = 18
	keySASLAuthenticate = 36

	produceMin          = 3  // Record batches v2 (KIP-98). Nothing older is supported.
	produceFlexible     = 9  // Compact fields, tags, request header v2 and response header v1 (KIP-482).
	produceTxn2         = 12 // From here on a transaction's requests are for transaction.version 2 (KIP-890).
	produceMaxTopicName = 12
	ProduceZstd         = 7  // Zstandard (KIP-110). A broker refuses it below.
	produceTopicID      = 13 // Topic ids in place of names (KIP-516).
)

// maxVersions are the newest versions that are sent, unless a caller asks for others. Some later ones are another protocol, not
// only more fields: those of KIP-890's second part are for transaction.version 2, and AddPartitionsToTxn v4 is for brokers
// among themselves. Answers to the others are read up to here.
var maxVersions = map[int16]int16{
	int16(kmsg.AddPartitionsToTxn): 3,
	int16(kmsg.EndTxn):             4,
	int16(kmsg.TxnOffsetCommit):    4,
	keyMetadata:                    13,
	keyApiVersions:                 5,
	int16(kmsg.FindCoordinator):    6,
	int16(kmsg.InitProducerID):     5,
	int16(kmsg.AddOffsetsToTxn):    4,

	int16(kmsg.GetTelemetrySubscriptions): 0,
	int16(kmsg.PushTelemetry):             0,
}

type versionRange struct{ min, max int16 }

// versions are what a broker supports, by request key.
type versions map[int16]versionRange

// highest returns the highest version up to ours that the broker supports.
func (v versions) highest(key, ours int16) (int16, bool) {
	theirs, ok := v[key]
	version := min(theirs.max, ours)
	return version, ok && version >= theirs.min && version >= 0
}

func (v versions) mismatch(addr string, key, oursMin, oursMax int16) *VersionError {
	theirs, ok := v[key]
	if !ok {
		theirs = versionRange{-1, -1}
	}
	return &VersionError{
		Addr: addr, Key: key,
		OursMin: oursMin, OursMax: oursMax, TheirsMin: theirs.min, TheirsMax: theirs.max,
	}
}

func versionsOf(resp *kmsg.ApiVersionsResponse) versions {
	v := make(versions, len(resp.ApiKeys))
	for _, k := range resp.ApiKeys {
		v[k.ApiKey] = versionRange{k.MinVersion, k.MaxVersion}
	}
	return v
}

// releases are sarama's versions and what brokers of that release support, newest first.
var releases = []struct {
	since    sarama.KafkaVersion
	versions func() *kversion.Versions
}{
	{sarama.V4_3_0_0, kversion.V4_3_0},
	{sarama.V4_2_0_0, kversion.V4_2_0},
	{sarama.V4_1_0_0, kversion.V4_1_0},
	{sarama.V4_0_0_0, kversion.V4_0_0},
	{sarama.V3_9_0_0, kversion.V3_9_0},
	{sarama.V3_8_0_0, kversion.V3_8_0},
	{sarama.V3_7_0_0, kversion.V3_7_0},
	{sarama.V3_6_0_0, kversion.V3_6_0},
	{sarama.V3_5_0_0, kversion.V3_5_0},
	{sarama.V3_4_0_0, kversion.V3_4_0},
	{sarama.V3_3_0_0, kversion.V3_3_0},
	{sarama.V3_2_0_0, kversion.V3_2_0},
	{sarama.V3_1_0_0, kversion.V3_1_0},
	{sarama.V3_0_0_0, kversion.V3_0_0},
	{sarama.V2_8_0_0, kversion.V2_8_0},
	{sarama.V2_7_0_0, kversion.V2_7_0},
	{sarama.V2_6_0_0, kversion.V2_6_0},
	{sarama.V2_5_0_0, kversion.V2_5_0},
	{sarama.V2_4_0_0, kversion.V2_4_0},
	{sarama.V2_3_0_0, kversion.V2_3_0},
	{sarama.V2_2_0_0, kversion.V2_2_0},
	{sarama.V2_1_0_0, kversion.V2_1_0},
	{sarama.V2_0_0_0, kversion.V2_0_0},
	{sarama.V1_1_0_0, kversion.V1_1_0},
	{sarama.V1_0_0_0, kversion.V1_0_0},
	{sarama.V0_11_0_0, kversion.V0_11_0},
	{sarama.V0_10_2_0, kversion.V0_10_2},
	{sarama.V0_10_1_0, kversion.V0_10_1},
	{sarama.V0_10_0_0, kversion.V0_10_0},
	{sarama.V0_9_0_0, kversion.V0_9_0},
	{sarama.V0_8_2_0, kversion.V0_8_2},
}

// saramaVersions are the highest versions that sarama 1.61 encodes and decodes. A broker that is not asked gets no higher
// ones: it may be a sarama.MockBroker, which reads requests with sarama's decoders whatever Config.Version says.
var saramaVersions = map[int16]int16{
	keyProduce:                     10,
	keyMetadata:                    11,
	int16(kmsg.FindCoordinator):    3,
	int16(kmsg.SASLHandshake):      1,
	keyApiVersions:                 4,
	int16(kmsg.InitProducerID):     4,
	int16(kmsg.AddPartitionsToTxn): 3,
	int16(kmsg.AddOffsetsToTxn):    3,
	int16(kmsg.EndTxn):             3,
	int16(kmsg.TxnOffsetCommit):    3,
	keySASLAuthenticate:            2,
}

// versionsFor is what a broker of this release supports, limited to saramaVersions. It is for brokers that are not asked or
// do not answer. Minimum versions are 0: what the broker does not support it refuses itself.
func versionsFor(release sarama.KafkaVersion) versions {
	v := make(versions)
	for _, r := range releases {
		if release.IsAtLeast(r.since) {
			r.versions().EachMaxKeyVersion(func(key, highest int16) {
				if limit, ok := saramaVersions[key]; ok {
					highest = min(highest, limit)
				}
				v[key] = versionRange{0, highest}
			})
			break
		}
	}
	return v
}

// oldestRelease is the first with record batches v2. A Config.Version below it is of no use here.
var oldestRelease = sarama.V0_11_0_0

// configuredRelease is assumed of brokers that are not asked or do not answer.
func configuredRelease(conf *sarama.Config) sarama.KafkaVersion {
	if conf.Version.IsAtLeast(oldestRelease) {
		return conf.Version
	}
	return oldestRelease
}
