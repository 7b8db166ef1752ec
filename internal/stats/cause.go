package stats

// Cause is the kind of a failure. Its text is one of sluice's FailureCauses.
type Cause uint8

const (
	DeliveryTimeout Cause = iota
	TooLarge
	Invalid
	UnknownTopic
	Unavailable
	NotAuthorized
	Refused
	Transaction
	BufferFull
	Cancelled
	Closed
	Other

	Causes int = iota
)

var causeNames = [Causes]string{
	DeliveryTimeout: "delivery_timeout",
	TooLarge:        "too_large",
	Invalid:         "invalid",
	UnknownTopic:    "unknown_topic",
	Unavailable:     "unavailable",
	NotAuthorized:   "not_authorized",
	Refused:         "refused",
	Transaction:     "transaction",
	BufferFull:      "buffer_full",
	Cancelled:       "cancelled",
	Closed:          "closed",
	Other:           "other",
}

func (c Cause) String() string { return causeNames[c] }
