package flow

import "log/slog"

// An Event is one kind of record in a producer's log. docs/logs.md has a line for each.
type Event struct {
	Name  string // the record's message
	Level slog.Level
}

// Events are all there are, in the order of docs/logs.md.
var Events []*Event

func event(level slog.Level, name string) *Event {
	e := &Event{Name: name, Level: level}
	Events = append(Events, e)
	return e
}

// Connections.
var (
	Connected       = event(slog.LevelInfo, "connected")
	ConnectedAgain  = event(slog.LevelDebug, "connected again")
	NotConnected    = event(slog.LevelWarn, "not connected")
	LoginFailed     = event(slog.LevelError, "login failed")
	LoginRepeated   = event(slog.LevelWarn, "login repeated with a fresh token")
	TokenNotRenewed = event(slog.LevelWarn, "token not renewed")
	FilesChanged    = event(slog.LevelInfo, "TLS files changed")
	FilesNotTaken   = event(slog.LevelWarn, "TLS files not taken")
	VersionsAssumed = event(slog.LevelWarn, "versions assumed")
	ConnectionLost  = event(slog.LevelWarn, "connection lost")
	SlowAnswer      = event(slog.LevelWarn, "slow answer")
)

// Topics and leaders.
var (
	LeaderChanged   = event(slog.LevelInfo, "leader changed")
	LeaderEpochBack = event(slog.LevelWarn, "leader epoch went back")
	NoLeader        = event(slog.LevelWarn, "no leader")
	TopicNotFound   = event(slog.LevelWarn, "topic not found")
	LookUpFailed    = event(slog.LevelWarn, "look-up failed")
)

// Batches.
var (
	Retrying     = event(slog.LevelWarn, "retrying")
	BackToNormal = event(slog.LevelInfo, "back to normal")
	BatchSplit   = event(slog.LevelInfo, "batch split")
	EpochBumped  = event(slog.LevelWarn, "epoch bumped")
	NoProducerID = event(slog.LevelWarn, "no producer id")
)

// Memory, and what comes from the program.
var (
	MemoryFull        = event(slog.LevelWarn, "memory full")
	MemoryFree        = event(slog.LevelInfo, "memory free again")
	OutcomesUnread    = event(slog.LevelWarn, "outcomes unread")
	MessagesFailed    = event(slog.LevelError, "messages failed")
	NilMessage        = event(slog.LevelWarn, "nil message")
	InterceptorFailed = event(slog.LevelError, "interceptor failed")
	TracerFailed      = event(slog.LevelError, "tracer failed")
	SettingAdjusted   = event(slog.LevelWarn, "setting adjusted")
	SettingDoubtful   = event(slog.LevelWarn, "setting doubtful")
	SettingIgnored    = event(slog.LevelWarn, "setting ignored")
)

// Transactions, and the end.
var (
	RequestRepeated   = event(slog.LevelWarn, "coordinator request repeated")
	EpochNotRenewed   = event(slog.LevelWarn, "epoch not renewed")
	FeaturesUnknown   = event(slog.LevelWarn, "features not told")
	TransactionFailed = event(slog.LevelWarn, "transaction failed")
	NotAborted        = event(slog.LevelWarn, "transaction not aborted")
	CannotGoOn        = event(slog.LevelError, "producer can't go on")
)

// Metrics that brokers ask for (KIP-714).
var (
	MetricsSubscribed = event(slog.LevelInfo, "metrics subscribed")
	MetricsNotTaken   = event(slog.LevelWarn, "metrics not taken")
)

// About the log itself.
var (
	RequestAnswered = event(slog.LevelDebug, "request answered")
	RequestLost     = event(slog.LevelDebug, "request lost")
	RecordsDropped  = event(slog.LevelWarn, "records dropped")
)
