"""Lets the system calls of the real program fail, then cuts its power.

The program runs under strace, which makes a call on the store's files fail as a disk would, once or from then on: a sync
that is not carried out, a write without room, a file that cannot be opened. Its disk is a recorded one, as of
powercut.py: what it acknowledged must be there in what was flushed by then, whatever failed before, and once it can
write again it must, without a restart, unless the call went on failing. `--slow` instead makes each sync take half a second, sends
ten times what that lets through, and tells the memory that the program took at most.

Needs what powercut.py needs, and strace.
"""

import argparse
import contextlib
import itertools
import os
import random
import re
import subprocess
import sys
import tempfile
import threading
import time

from disk import Disk, DiskDirectory
from powercut import FILE_SYSTEMS, Client, Cutter, History, Mounted, Server, batch_events, check

KIND = "ext4"
# Refusals in a row without a new thread after which each thread there is must have met its failing call: threads take
# turns, and one that opens a log, writes the manifest and the log may fail at any of them.
QUIET_MAX = 40
# The calls and what each may fail with. The socket's and the runtime's own calls are left alone: only those on files
# of the store count.
CALLS = [
    ("fdatasync", "EIO"),
    ("fdatasync", "ENOSPC"),
    ("fsync", "EIO"),
    ("write", "ENOSPC"),
    ("write", "EIO"),
    ("write", "EDQUOT"),
    ("openat", "EMFILE"),
    ("openat", "ENOMEM"),
    ("rename", "EIO"),
    ("mmap", "ENOMEM"),
]


class StracedServer(Server):
    """The program, whose calls fail as `rule` says: strace's `--inject`."""

    def __init__(self, binary, data, rule):
        names = [f"{number:08}.{ending}" for number in range(80) for ending in ("log", "segment", "ids")]
        names += [name + ".new" for name in names] + ["MANIFEST", "MANIFEST.new"]
        paths = itertools.chain.from_iterable(("-P", os.path.join(data, name)) for name in names)
        script = ["strace", "-f", "-qqq", "-o", "/dev/null", f"--inject={rule}", *paths, "-P", data, binary]
        wrapper = os.path.join(tempfile.mkdtemp(), "flywheel")
        with open(wrapper, "w") as file:
            file.write("#!/bin/sh\nexec " + " ".join(script) + ' "$@"\n')
        os.chmod(wrapper, 0o755)
        super().__init__(wrapper, data, subprocess.DEVNULL)

    def program(self):
        children = f"/proc/{self.child.pid}/task/{self.child.pid}/children"
        return int(open(children).read().split()[0])

    def kill(self):
        with contextlib.suppress(OSError, IndexError):
            os.kill(self.program(), 9)
        super().kill()


def fail(directory, folder, binary, start, call, errno, number, is_sticky):
    """One run with the call of this number of each thread failing. Returns what became of its requests."""
    disk = Disk(FILE_SYSTEMS[KIND][0], dict(start))
    mount_point, data = os.path.join(folder, "mounted"), os.path.join(folder, "mounted", "data")
    mounted = Mounted(directory, f"{call}-{errno}-{number}-{is_sticky}", disk, KIND, mount_point)
    history, refused, is_going_on, quiet, threads = History(disk), 0, True, 0, set()
    try:
        before = dict(disk.pages)
        disk.is_recording = True
        mounted.mount()
        Server(binary, data).kill()  # a store is there
        rule = f"{call}:error={errno}:when={number}{'+' if is_sticky else ''}"
        try:
            server = StracedServer(binary, data, rule)
        except AssertionError:
            server = None  # refusing to start is fair, and told by its exit code
        if server:
            client = Client(server.port)
            # strace counts the calls of each thread apart. So every thread that writes may meet its failing call, and
            # under strace, which is slow to let a thread go idle, many requests get a thread of their own.
            for batch in itertools.count():
                if batch >= 14 and (is_sticky or is_going_on):
                    break
                known = len(threads)
                try:
                    history.send(client, batch_events(None, 0, batch, 5))
                    is_going_on = True
                except AssertionError:
                    refused, is_going_on = refused + 1, False
                threads |= set(os.listdir(f"/proc/{server.program()}/task"))
                if batch % 5 == 4:
                    client.ask("POST", "/v1/admin/seal")
                quiet = 0 if len(threads) > known or is_going_on else quiet + 1
                assert is_sticky or quiet < QUIET_MAX, f"the call fails no more, and nothing is stored: {refused} refused, {len(threads)} threads"
            assert client.ask("GET", "/healthz")[0] == 200, "it does not answer any more"
            server.kill()
    finally:
        disk.is_recording = False
        mounted.close()
    for keeps_all in (False, True):
        cutter = Cutter(before, disk.log, number)
        pages, _ = (dict(disk.pages), "") if keeps_all else cutter.cut(len(disk.log))
        left = Mounted(directory, "cut", Disk(disk.size, pages), KIND, mount_point)
        try:
            left.mount()
            check(history, binary, data, len(disk.log))
        finally:
            left.close()
    acknowledged = sum(entry.acknowledged is not None for entry in history.entries)
    return acknowledged, refused, len(threads)


def peak_bytes(process):
    status = open(f"/proc/{process}/status").read()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) << 10


def be_slow(folder, binary, seconds):
    """Each sync takes half a second; 64 clients send large requests all the time."""
    data = os.path.join(folder, "data")
    Server(binary, data).kill()
    server = StracedServer(binary, data, "fdatasync:delay_exit=500000")
    until, counts, numbers = time.monotonic() + seconds, {}, itertools.count()
    idle = peak_bytes(server.program())

    def send():
        client = Client(server.port)
        while time.monotonic() < until:
            events = batch_events(None, next(numbers), 0, 2000)
            try:
                status, _ = client.ask("POST", "/v1/events", events)
            except OSError:
                client, status = Client(server.port), "broken"
            counts[status] = counts.get(status, 0) + 1

    threads = [threading.Thread(target=send) for _ in range(64)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    peak = peak_bytes(server.program())
    server.kill()
    print(f"slow disk, {seconds} s: {counts}; memory {idle >> 20} MiB at rest, {peak >> 20} MiB at most", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--flywheel", default="target/debug/flywheel", help="the program")
    parser.add_argument("--numbers", type=int, default=12, help="calls of each kind to fail, from the first on")
    parser.add_argument("--only", metavar="CALL:ERROR:NUMBER", help="one call alone, once: write:EIO:2")
    parser.add_argument("--times", type=int, default=1, help="how often to run each")
    parser.add_argument("--slow", type=int, metavar="SECONDS", help="a slow disk instead of a failing one")
    arguments = parser.parse_args()
    binary = os.path.abspath(arguments.flywheel)
    with tempfile.TemporaryDirectory(prefix="failing-") as folder:
        if arguments.slow:
            be_slow(folder, binary, arguments.slow)
            return
        disks = os.path.join(folder, "disks")
        os.makedirs(disks)
        os.makedirs(os.path.join(folder, "mounted"))
        directory = DiskDirectory(disks)
        runs = findings = 0
        try:
            disk = Disk(FILE_SYSTEMS[KIND][0])
            made = Mounted(directory, "made", disk, KIND, os.path.join(folder, "mounted"))
            made.make()
            made.close()
            cases = list(itertools.product(CALLS, range(1, arguments.numbers + 1), (False, True)))
            if arguments.only:
                call, errno, number = arguments.only.split(":")
                cases = [((call, errno), int(number), False)]
            for (call, errno), number, is_sticky in cases * arguments.times:
                runs += 1
                try:
                    told = fail(directory, folder, binary, disk.pages, call, errno, number, is_sticky)
                    if number % 4 == 1 or arguments.only:
                        print(f"{call} {errno} {number}{'+' if is_sticky else ''}: acknowledged {told[0]}, refused {told[1]}, {told[2]} threads", flush=True)
                except (AssertionError, OSError, IndexError) as finding:
                    findings += 1
                    print(f"{call} {errno} {number}{'+' if is_sticky else ''}: {finding!r}", flush=True)
        finally:
            directory.close()
        print(f"{runs} runs with failing calls, {findings} findings", flush=True)
        sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
