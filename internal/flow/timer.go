package flow

import "time"

// StoppedTimer makes a timer that does not fire before it is Reset.
func StoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}
