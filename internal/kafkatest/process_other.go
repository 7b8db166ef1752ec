//go:build unix && !linux

package kafkatest

import "syscall"

// dieWithParent does nothing: only Linux can do that. A test binary that is killed leaves its nodes running.
func dieWithParent(*syscall.SysProcAttr) {}
