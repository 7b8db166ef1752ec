package stats

// Cause is the kind of a failure: the index of one of sluice's FailureCauses.
type Cause uint8

// In the order of package sluice's constants.
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
