"""Disks that remember every write and every flush, as files for loop devices.

A process of its own cannot take the power from a kernel's page cache, but a disk below it can: the file systems of the
kernel lie on loop devices, whose files are served from here through FUSE. Each write and each flush is recorded in
order; a disk as a power cut would have left it is made from a part of that record, and served as another file.

The protocol of /dev/fuse is spoken directly (linux/fuse.h, version 7.31): a directory of files of fixed sizes needs
little of it.
"""

import ctypes
import errno
import os
import struct
import threading

PAGE = 4096
ZEROS = bytes(PAGE)
SECTOR = 512

LOOKUP, FORGET, GETATTR, SETATTR, OPEN, READ, WRITE, STATFS, RELEASE = 1, 2, 3, 4, 14, 15, 16, 17, 18
FSYNC, FLUSH, INIT, OPENDIR, READDIR, RELEASEDIR, ACCESS = 20, 25, 26, 27, 28, 29, 34
INTERRUPT, DESTROY, BATCH_FORGET = 36, 38, 42
WRITE_SIZE_MAX = 1 << 20
# Every read and write of the loop device comes here; nothing is kept in between.
OPEN_DIRECT = 1


class Disk:
    """A disk of `size` bytes: pages that are not zero, and what was done to it."""

    def __init__(self, size, pages=None):
        self.size = size
        self.pages = pages if pages is not None else {}
        self.log = []  # (offset, bytes) of a write, None for a flush
        self.is_recording = False

    def read(self, offset, size):
        size = max(0, min(size, self.size - offset))
        first, last = offset // PAGE, (offset + size - 1) // PAGE
        whole = b"".join(self.pages.get(page, ZEROS) for page in range(first, last + 1)) if size else b""
        return whole[offset - first * PAGE :][:size]

    def write(self, offset, data):
        if self.is_recording:
            self.log.append((offset, data))
        put(self.pages, offset, data)

    def flush(self):
        if self.is_recording:
            self.log.append(None)


def put(pages, offset, data):
    """Writes bytes into a dictionary of pages."""
    at = 0
    while at < len(data):
        page, within = divmod(offset + at, PAGE)
        part = data[at : at + PAGE - within]
        if len(part) < PAGE:
            before = pages.get(page, ZEROS)
            part = before[:within] + part + before[within + len(part) :]
        if part == ZEROS:
            pages.pop(page, None)
        else:
            pages[page] = bytes(part)
        at = (page + 1) * PAGE - offset


class DiskDirectory:
    """Serves disks as files of a directory, on a thread, until it is closed."""

    def __init__(self, path):
        self.path = path
        self.disks = {}  # by node number
        self.names = {}
        self.next_node = 2
        self.device = os.open("/dev/fuse", os.O_RDWR)
        self.libc = ctypes.CDLL(None, use_errno=True)
        options = f"fd={self.device},rootmode=40000,user_id=0,group_id=0,allow_other"
        mounted = self.libc.mount(b"flywheel-disks", path.encode(), b"fuse", 0, options.encode())
        if mounted != 0:
            raise OSError(ctypes.get_errno(), "cannot mount")
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def add(self, name, disk):
        node, self.next_node = self.next_node, self.next_node + 1
        self.disks[node] = disk
        self.names[name.encode()] = node
        return os.path.join(self.path, name)

    def remove(self, name):
        del self.disks[self.names.pop(name.encode())]

    def close(self):
        self.libc.umount2(self.path.encode(), 2)
        self.thread.join(5)
        os.close(self.device)

    def serve(self):
        buffer_size = WRITE_SIZE_MAX + PAGE
        while True:
            try:
                request = os.read(self.device, buffer_size)
            except OSError as error:
                if error.errno in (errno.EINTR, errno.EAGAIN, errno.ENOENT):
                    continue
                return
            _, opcode, unique, node = struct.unpack_from("<IIQQ", request)
            if opcode in (FORGET, BATCH_FORGET, INTERRUPT):
                continue
            try:
                code, body = 0, self.answer(opcode, node, request[40:])
            except OSError as error:
                code, body = -error.errno, b""
            try:
                os.write(self.device, struct.pack("<IiQ", 16 + len(body), code, unique) + body)
            except OSError:
                pass  # its asker has gone
            if opcode == DESTROY:
                return

    def attributes(self, node):
        disk = self.disks.get(node)
        if node != 1 and disk is None:
            raise OSError(errno.ENOENT, "no such disk")
        mode, size = (0o40755, 0) if node == 1 else (0o100600, disk.size)
        return struct.pack("<6Q10I", node, size, size // 512, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, PAGE, 0)

    def answer(self, opcode, node, body):
        if opcode == INIT:
            _, _, readahead, flags = struct.unpack_from("<4I", body)
            flags &= 1 | 1 << 5 | 1 << 22  # asynchronous reads, big writes, many pages
            pages = WRITE_SIZE_MAX // PAGE
            return struct.pack("<4IHHIIHHI7I", 7, 31, readahead, flags, 64, 48, WRITE_SIZE_MAX, 1, pages, 0, 0, *[0] * 7)
        if opcode == LOOKUP:
            found = self.names.get(body.rstrip(b"\0"))
            if found is None:
                raise OSError(errno.ENOENT, "no such disk")
            return struct.pack("<4Q2I", found, 0, 0, 0, 0, 0) + self.attributes(found)
        if opcode in (GETATTR, SETATTR):
            return struct.pack("<QII", 0, 0, 0) + self.attributes(node)
        if opcode in (OPEN, OPENDIR):
            return struct.pack("<QII", 0, OPEN_DIRECT if opcode == OPEN else 0, 0)
        if opcode == READ:
            _, offset, size = struct.unpack_from("<QQI", body)
            return self.disks[node].read(offset, size)
        if opcode == WRITE:
            _, offset, size = struct.unpack_from("<QQI", body)
            self.disks[node].write(offset, body[40 : 40 + size])
            return struct.pack("<II", size, 0)
        if opcode == FSYNC:
            self.disks[node].flush()
            return b""
        if opcode == STATFS:
            return struct.pack("<5Q4I6I", 0, 0, 0, 0, 0, PAGE, 255, PAGE, 0, *[0] * 6)
        if opcode == READDIR:
            return b""
        if opcode in (RELEASE, FLUSH, RELEASEDIR, ACCESS, DESTROY):
            return b""
        raise OSError(errno.ENOSYS, "not spoken here")
