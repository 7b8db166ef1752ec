package kafkatest

import "syscall"

// dieWithParent has the kernel kill the program when the test binary ends, however that happens.
func dieWithParent(attr *syscall.SysProcAttr) { attr.Pdeathsig = syscall.SIGKILL }
