"""A guest of 512 bytes that counts: it writes a number and a newline to its serial port 18 times a second.

The count lives in its memory only. So a guest that begins anew counts from 1, and one that was saved and restored
goes on.
"""

import struct

_ORIGIN = 0x7C00  # where a PC's BIOS loads the first sector of the disk, and jumps
_SECTOR_BYTES = 512
_DIGITS = 6

_PROGRAM = b"".join(
    (
        b"\x31\xc0",  # 00  xor ax, ax
        b"\x8e\xd8",  # 02  mov ds, ax          data where the BIOS put us
        b"\x8e\xd0",  # 04  mov ss, ax
        b"\xbc\x00\x7c",  # 06  mov sp, 0x7c00      a stack below us, for the timer's interrupts
        b"\xfb",  # 09  sti
        b"\xbf\x38\x7c",  # 0a  mov di, 0x7c38      next: the last digit
        b"\xfe\x05",  # 0d  inc byte [di]       carry:
        b"\x80\x3d\x3a",  # 0f  cmp byte [di], '9' + 1
        b"\x75\x06",  # 12  jne 0x1a            no carry: print
        b"\xc6\x05\x30",  # 14  mov byte [di], '0'
        b"\x4f",  # 17  dec di
        b"\xeb\xf3",  # 18  jmp 0x0d            carry
        b"\xbe\x33\x7c",  # 1a  mov si, 0x7c33      print: the first digit
        b"\xb9\x07\x00",  # 1d  mov cx, 7           six digits and the newline
        b"\xba\xfd\x03",  # 20  mov dx, 0x3fd       put: line status of the first serial port
        b"\xec",  # 23  in al, dx           wait:
        b"\xa8\x20",  # 24  test al, 0x20       can it take a byte?
        b"\x74\xfb",  # 26  jz 0x23             wait
        b"\xac",  # 28  lodsb
        b"\xba\xf8\x03",  # 29  mov dx, 0x3f8       its data
        b"\xee",  # 2c  out dx, al
        b"\xe2\xf1",  # 2d  loop 0x20           put
        b"\xf4",  # 2f  hlt                 until the timer's next tick, 18.2 a second
        b"\xeb\xd8",  # 30  jmp 0x0a            next
        b"\x90",  # 32  nop
        b"0" * _DIGITS + b"\n",  # 33  the count
    )
)


def boot_sector() -> bytes:
    """The program, filled up, with the mark that tells a BIOS that it can be booted."""
    return _PROGRAM.ljust(_SECTOR_BYTES - 2, b"\0") + b"\x55\xaa"


def counts(serial: bytes) -> list[int]:
    """The numbers in what the guest wrote; a last line that is not whole yet is left out."""
    *lines, _ = serial.split(b"\n")
    return [int(line) for line in lines if len(line) == _DIGITS and line.isdigit()]


_CLUSTER = 1 << 16


def qcow2(content: bytes) -> bytes:
    """A disk image of one cluster (64 KiB) that begins with `content`, in a format that can keep snapshots.

    QEMU's docs/interop/qcow2.txt, version 2: header, refcount table, refcount block, L1 and L2 table, data, a cluster
    each; numbers are big-endian.
    """
    used = 1 << 63  # of an entry: the cluster is this image's own, so it may be written in place
    header = struct.pack(
        ">4sIQIIQIIQQIIQ",
        b"QFI\xfb",
        2,  # version
        0,  # no backing file: offset
        0,  # and length of its name
        _CLUSTER.bit_length() - 1,
        _CLUSTER,  # the disk's size
        0,  # not encrypted
        1,  # entries of the L1 table
        3 * _CLUSTER,  # where it is
        1 * _CLUSTER,  # the refcount table
        1,  # which has one cluster
        0,  # snapshots
        0,  # and where they are
    )
    clusters = (
        header,
        struct.pack(">Q", 2 * _CLUSTER),  # the one refcount block
        struct.pack(">6H", *[1] * 6),  # each of our six clusters is used once
        struct.pack(">Q", used | 4 * _CLUSTER),
        struct.pack(">Q", used | 5 * _CLUSTER),
        content,
    )
    return b"".join(cluster.ljust(_CLUSTER, b"\0") for cluster in clusters)
