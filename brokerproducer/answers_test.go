package brokerproducer

import (
	"testing"

	"github.com/IBM/sarama"
)

// Every code that a broker may answer to Produce: its meaning, and whether the batch may be in the log all the
// same, with acks=all and with acks=1.
func TestMeaningOf(t *testing.T) {
	for _, line := range []struct {
		code                 int16
		name                 string
		meaning              Meaning
		unsureAll, unsureOne bool
		retriableInJava      bool // RetriableException of the Java client
	}{
		{0, "NONE", Delivered, false, false, false},
		{1, "OFFSET_OUT_OF_RANGE", Fatal, false, false, false},
		{2, "CORRUPT_MESSAGE", RetryFew, false, false, true},
		{3, "UNKNOWN_TOPIC_OR_PARTITION", Refresh, true, false, true}, // InvalidMetadataException
		{5, "LEADER_NOT_AVAILABLE", Refresh, false, false, true},      // InvalidMetadataException
		{6, "NOT_LEADER_OR_FOLLOWER", Refresh, true, false, true},     // InvalidMetadataException
		{7, "REQUEST_TIMED_OUT", Retry, true, true, true},
		{8, "BROKER_NOT_AVAILABLE", Refresh, false, false, false}, // an old broker's code for a leader that is away
		{9, "REPLICA_NOT_AVAILABLE", Refresh, false, false, true}, // InvalidMetadataException
		{10, "MESSAGE_TOO_LARGE", Split, false, false, false},     // KIP-126
		{13, "NETWORK_EXCEPTION", Refresh, true, true, true},      // InvalidMetadataException
		{14, "COORDINATOR_LOAD_IN_PROGRESS", Retry, false, false, true},
		{15, "COORDINATOR_NOT_AVAILABLE", Retry, false, false, true},
		{16, "NOT_COORDINATOR", Retry, false, false, true},
		{17, "INVALID_TOPIC_EXCEPTION", Fatal, false, false, false},
		{18, "RECORD_LIST_TOO_LARGE", Split, false, false, false},
		{19, "NOT_ENOUGH_REPLICAS", Retry, false, false, true},
		{20, "NOT_ENOUGH_REPLICAS_AFTER_APPEND", Retry, true, true, true},
		{21, "INVALID_REQUIRED_ACKS", Fatal, false, false, false},
		{29, "TOPIC_AUTHORIZATION_FAILED", Fatal, false, false, false},
		{31, "CLUSTER_AUTHORIZATION_FAILED", Fatal, false, false, false}, // may be granted any time
		{32, "INVALID_TIMESTAMP", Fatal, false, false, false},            // KIP-32
		{35, "UNSUPPORTED_VERSION", Fatal, false, false, false},
		{41, "NOT_CONTROLLER", Retry, false, false, true}, // InvalidMetadataException, of the controller
		{42, "INVALID_REQUEST", Fatal, false, false, false},
		{43, "UNSUPPORTED_FOR_MESSAGE_FORMAT", Fatal, false, false, false},
		{44, "POLICY_VIOLATION", Fatal, false, false, false},
		{45, "OUT_OF_ORDER_SEQUENCE_NUMBER", LostSequence, false, false, false}, // KIP-98, KIP-360
		{46, "DUPLICATE_SEQUENCE_NUMBER", Duplicate, false, false, false},       // KIP-98
		{47, "INVALID_PRODUCER_EPOCH", LostIdentity, false, false, false},       // KIP-360, KIP-588
		{48, "INVALID_TXN_STATE", Fatal, false, false, false},
		{49, "INVALID_PRODUCER_ID_MAPPING", LostIdentity, false, false, false},
		{51, "CONCURRENT_TRANSACTIONS", Wait, false, false, true}, // KIP-890
		{53, "TRANSACTIONAL_ID_AUTHORIZATION_FAILED", Fatal, false, false, false},
		{56, "KAFKA_STORAGE_ERROR", Refresh, true, true, true}, // KIP-112, InvalidMetadataException
		{58, "SASL_AUTHENTICATION_FAILED", Fatal, false, false, false},
		{59, "UNKNOWN_PRODUCER_ID", LostSequence, false, false, false}, // KIP-360
		{72, "LISTENER_NOT_FOUND", Refresh, false, false, true},        // InvalidMetadataException
		{74, "FENCED_LEADER_EPOCH", Refresh, false, false, true},       // KIP-320, InvalidMetadataException
		{75, "UNKNOWN_LEADER_EPOCH", Refresh, false, false, true},      // KIP-320
		{76, "UNSUPPORTED_COMPRESSION_TYPE", Fatal, false, false, false},
		{87, "INVALID_RECORD", Fatal, false, false, false},           // KIP-467
		{89, "THROTTLING_QUOTA_EXCEEDED", Retry, false, false, true}, // KIP-599
		{90, "PRODUCER_FENCED", LostIdentity, false, false, false},   // KIP-588
		{100, "UNKNOWN_TOPIC_ID", Refresh, true, false, true},        // KIP-516, InvalidMetadataException
		{103, "INCONSISTENT_TOPIC_ID", Refresh, true, false, true},   // KIP-516, InvalidMetadataException
		{120, "TRANSACTION_ABORTABLE", Fatal, false, false, false},   // KIP-890
		{129, "REBOOTSTRAP_REQUIRED", Refresh, false, false, false},  // KIP-1102
		{-1, "UNKNOWN_SERVER_ERROR", RetryFew, true, true, false},
		{9999, "a code of the future", Fatal, false, false, false},
	} {
		t.Run(line.name, func(t *testing.T) {
			code := sarama.KError(line.code)
			meaning := MeaningOf(code)
			if meaning != line.meaning {
				t.Errorf("%v, want %v", meaning, line.meaning)
			}
			if line.retriableInJava && !meaning.Retriable() {
				t.Errorf("%v, and the Java client retries", meaning)
			}
			all, one := Unsure(code, sarama.WaitForAll), Unsure(code, sarama.WaitForLocal)
			if all != line.unsureAll || one != line.unsureOne {
				t.Errorf("unsure %v with acks=all and %v with acks=1", all, one)
			}
			if meaning.String() == "" {
				t.Error("the meaning has no name")
			}
		})
	}
}
