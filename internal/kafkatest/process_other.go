//go:build unix && !linux

package kafkatest

import "syscall"

// dieWithParent does nothing where the kernel offers nothing: a test binary that is killed leaves its nodes running.
func dieWithParent(*syscall.SysProcAttr) {}
