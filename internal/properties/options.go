package properties

import "time"

// Options are the settings that are options of the root package's constructors; zero is not given.
type Options struct {
	BufferMemory            int64
	DeliveryTimeout         time.Duration
	MaxInFlightPerPartition int
	ConnectionsMaxIdle      time.Duration
	MaxRequestBytes         int
	MetricsPush             bool
}

// OptionFuncs are the root package's functions that make its options. They are given to OptionsOf since the root package imports
// this one.
type OptionFuncs[O any] struct {
	BufferMemory            func(int64) O
	DeliveryTimeout         func(time.Duration) O
	MaxInFlightPerPartition func(int) O
	ConnectionsMaxIdle      func(time.Duration) O
	MaxRequestBytes         func(int) O
	MetricsPush             func(bool) O
}

// OptionsOf are the options that were given. The window of a partition counts for an idempotent producer only.
func OptionsOf[O any](s *Settings, with OptionFuncs[O]) (opts []O) {
	o := s.Options
	if o.BufferMemory > 0 {
		opts = append(opts, with.BufferMemory(o.BufferMemory))
	}
	if o.DeliveryTimeout > 0 {
		opts = append(opts, with.DeliveryTimeout(o.DeliveryTimeout))
	}
	if o.ConnectionsMaxIdle != 0 {
		opts = append(opts, with.ConnectionsMaxIdle(o.ConnectionsMaxIdle))
	}
	if o.MaxInFlightPerPartition > 0 && s.Conf.Producer.Idempotent {
		opts = append(opts, with.MaxInFlightPerPartition(o.MaxInFlightPerPartition))
	}
	if o.MaxRequestBytes > 0 {
		opts = append(opts, with.MaxRequestBytes(o.MaxRequestBytes))
	}
	if s.Given["MetricsPush"] {
		opts = append(opts, with.MetricsPush(o.MetricsPush))
	}
	return opts
}
