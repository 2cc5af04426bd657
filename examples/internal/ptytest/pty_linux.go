package ptytest

import (
	"fmt"
	"os"
	"syscall"
	"unsafe"
)

// open returns the two ends of a new terminal.
func open() (terminal, program *os.File, err error) {
	terminal, err = os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			terminal.Close()
		}
	}()
	var unlock, number int32
	size := [4]uint16{Rows, Columns}
	for _, call := range []struct {
		request uintptr
		value   unsafe.Pointer
	}{
		{syscall.TIOCSPTLCK, unsafe.Pointer(&unlock)},
		{syscall.TIOCGPTN, unsafe.Pointer(&number)},
		{syscall.TIOCSWINSZ, unsafe.Pointer(&size)},
	} {
		if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, terminal.Fd(), call.request, uintptr(call.value)); errno != 0 {
			return nil, nil, errno
		}
	}
	program, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|syscall.O_NOCTTY, 0)
	return terminal, program, err
}
