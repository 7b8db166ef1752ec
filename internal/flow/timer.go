package flow

import "time"

// StoppedTimer makes a timer for a stage's select, which fires when it is Reset.
func StoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}
