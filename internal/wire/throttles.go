package wire

import "time"

// throttled notes how long a broker wants a connection to be quiet.
func (d *Dialer) throttled(by time.Duration) {
	for {
		longest := d.longestThrottle.Load()
		if int64(by) <= longest || d.longestThrottle.CompareAndSwap(longest, int64(by)) {
			return
		}
	}
}

// TakeLongestThrottle is the longest time that a broker has asked to wait since the last call, 0 if none has.
func (d *Dialer) TakeLongestThrottle() time.Duration { return time.Duration(d.longestThrottle.Swap(0)) }
