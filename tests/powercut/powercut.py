"""Cuts the power under the real program, on the real file systems of the kernel.

For each file system a disk is made, the program serves a store on it
while clients write, seal, compact, merge, delete and kill it, and every write and flush of the disk is recorded with the
moments at which answers came. Then the disk is made as a cut at many moments would have left it: all that was flushed,
and of what came after any part, each write whole, torn at a sector, or not there. The file system is mounted, which
mends it as after a real cut, `flywheel check` must find the store sound, and the program started on it must have what it
had acknowledged, once, nothing that nobody sent, and each request whole or not at all.

Needs root, /dev/fuse, loop devices, and mkfs of each file system.
"""

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time

from disk import SECTOR, Disk, DiskDirectory, put

FILE_SYSTEMS = {
    "ext4": (64 << 20, ["mkfs.ext4", "-q", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"]),
    "xfs": (320 << 20, ["mkfs.xfs", "-q", "-K"]),
    "btrfs": (256 << 20, ["mkfs.btrfs", "-q", "-K"]),
}
WRITERS = 4
BATCHES_OF_A_WRITER = 45
START_MS = 1_704_067_200_000


class Client:
    """Requests to one server. A broken connection is an `OSError`."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method, path, body=None):
        text = None if body is None else json.dumps(body)
        try:
            self.connection.request(method, path, text, {"Content-Type": "application/json"})
            answer = self.connection.getresponse()
            told = answer.read()
        except http.client.HTTPException as error:
            raise OSError(str(error)) from error
        return answer.status, json.loads(told) if told else None

    def good(self, method, path, body=None):
        status, told = self.ask(method, path, body)
        if status != 200 and status != 201:
            raise AssertionError(f"{method} {path}: {status} {told}")
        return told


class Server:
    def __init__(self, binary, data, told_to=None):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("FLYWHEEL_")}
        arguments = [binary, "serve", "--data", data, "--listen", "127.0.0.1:0", "--log", "error"]
        self.child = subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=told_to, env=environment, text=True)
        line = self.child.stdout.readline()
        found = re.search(r"http://127\.0\.0\.1:(\d+)", line)
        if not found:
            self.child.kill()
            raise AssertionError(f"the server did not start: {line!r}, exit code {self.child.wait()}")
        self.port = int(found[1])

    def kill(self):
        self.child.kill()
        self.child.wait()
        self.child.stdout.close()


class Mounted:
    """A disk under a loop device, mounted."""

    def __init__(self, directory, name, disk, kind, mount_point):
        self.directory, self.name, self.mount_point = directory, name, mount_point
        file = directory.add(name, disk)
        self.device = run("losetup", "--find", "--show", file).strip()
        self.is_mounted = False
        self.kind = kind

    def make(self):
        run(*FILE_SYSTEMS[self.kind][1], self.device)

    def mount(self):
        run("mount", "-t", self.kind, self.device, self.mount_point)
        self.is_mounted = True

    def close(self):
        # A process that was killed lets go of its files a moment later.
        for _ in range(500):
            if not self.is_mounted or subprocess.run(["umount", self.mount_point], capture_output=True).returncode == 0:
                break
            time.sleep(0.02)
        else:
            raise AssertionError(f"{self.mount_point} cannot be unmounted")
        run("losetup", "--detach", self.device)
        # The device lets go of its file a moment later.
        for _ in range(200):
            if subprocess.run(["losetup", self.device], capture_output=True).returncode != 0:
                break
            time.sleep(0.01)
        self.directory.remove(self.name)


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)}: {done.returncode} {done.stderr}{done.stdout}")
    return done.stdout


def batch_events(label, writer, number, count):
    """The events of one request. The same number makes the same events."""
    time_ms = START_MS + (writer * 10_000 + number) * 60_000
    return [
        {
            "event": ["view", "search", "buy"][index % 3],
            "user": f"u{writer}-{(number * 7 + index) % 40}" if label is None else label,
            "id": f"{writer}-{number}-{index}",
            "time": time_ms + index,
            "properties": {"batch": f"{writer}-{number}", "note": "x" * (index * 37 % 400)},
        }
        for index in range(count)
    ]


class Entry:
    """A request: the events of a batch and the places in the record where it was sent and acknowledged."""

    def __init__(self, events, sent):
        self.events, self.sent, self.acknowledged = events, sent, None

    @property
    def batch(self):
        return self.events[0]["properties"]["batch"]


class History:
    """What clients did, and when, in places of the disk's record."""

    def __init__(self, disk):
        self.disk = disk
        self.lock = threading.Lock()
        self.entries = []
        self.deletion = None  # of the user "gone", whose only batch it took
        self.deleted_batch = None

    def send(self, client, events):
        entry = Entry(events, len(self.disk.log))
        with self.lock:
            self.entries.append(entry)
        client.good("POST", "/v1/events", events)
        entry.acknowledged = len(self.disk.log)
        return entry


def record(history, binary, data, seed):
    """Lets clients write to the program while it seals and compacts, kills it in the middle, and goes on."""
    server, dice = Server(binary, data), random.Random(seed)
    numbers = [iter(range(BATCHES_OF_A_WRITER)) for _ in range(WRITERS)]

    def write(writer, seed):
        dice = random.Random(seed)
        client = Client(server.port)
        with contextlib.suppress(OSError):
            for number in numbers[writer]:
                history.send(client, batch_events(None, writer, number, dice.randint(1, 40)))
                if dice.random() < 0.2:
                    pair = {"from": f"anon{writer}-{number}", "into": f"u{writer}-0"}
                    client.good("POST", "/v1/identities", [pair])
                if dice.random() < 0.2:
                    profile = {"user": f"u{writer}-{number % 40}", "set": {"plan": dice.choice(["free", "pro"])}}
                    client.good("POST", "/v1/users", [profile])

    def live(kill_after):
        nonlocal server
        threads = [threading.Thread(target=write, args=(w, dice.random())) for w in range(WRITERS)]
        [thread.start() for thread in threads]
        deadline = time.monotonic() + kill_after
        client = Client(server.port)
        while any(thread.is_alive() for thread in threads) and time.monotonic() < deadline:
            time.sleep(dice.random() * 0.15)
            with contextlib.suppress(OSError):
                client.good("POST", "/v1/admin/compact" if dice.random() < 0.3 else "/v1/admin/seal")
        if any(thread.is_alive() for thread in threads):
            server.kill()
        [thread.join() for thread in threads]

    live(1.0)
    server.kill()
    server = Server(binary, data)
    client = Client(server.port)
    # Whose bytes go, durably, at a known moment.
    history.deleted_batch = history.send(client, batch_events("gone", 90, 0, 25))
    live(600)
    history.deletion = Entry(history.deleted_batch.events, len(history.disk.log))
    client.good("DELETE", "/v1/users/gone")
    history.deletion.acknowledged = len(history.disk.log)
    history.send(client, batch_events(None, 91, 0, 10))
    client.good("POST", "/v1/admin/compact")
    history.send(client, batch_events(None, 91, 1, 10))
    server.child.send_signal(signal.SIGTERM)
    server.child.wait()
    server.child.stdout.close()


class Cutter:
    """Makes disks as cuts would have left them, of moments that ascend."""

    def __init__(self, start, log, seed):
        self.pages, self.log, self.applied, self.seed = dict(start), log, 0, seed

    def cut(self, place):
        """What was flushed before `place`, and some of what was written after that."""
        flushed = max((at + 1 for at in range(self.applied, place) if self.log[at] is None), default=self.applied)
        for operation in self.log[self.applied : flushed]:
            if operation is not None:
                put(self.pages, *operation)
        self.applied = flushed
        dice, pages = random.Random(f"{self.seed} {place}"), dict(self.pages)
        kept_share = dice.choice([0, 0, 0.3, 0.7, 1])
        kept = [operation for operation in self.log[flushed:place] if operation and dice.random() < kept_share]
        # A disk with a cache writes in any order; only the last of two writes of one place matters.
        if dice.random() < 0.5:
            dice.shuffle(kept)
        for index, (offset, data) in enumerate(kept):
            if dice.random() < 0.1 and len(data) > SECTOR:
                data = data[: dice.randrange(SECTOR, len(data), SECTOR)]
            put(pages, offset, data)
        return pages, f"{flushed} operations flushed, {len(kept)} of {place - flushed} later ones kept"


def check(history, binary, data, place):
    """What the program must have of what was done until `place`. Returns how many events it has."""
    checked = subprocess.run([binary, "check", "--data", data], capture_output=True, text=True)
    acknowledged = [entry for entry in history.entries if (entry.acknowledged or 1 << 60) <= place]
    if not os.path.isdir(data):
        assert not acknowledged, "the directory of the store is gone"
        return 0
    # A store of which nothing was acknowledged may not be one yet.
    assert checked.returncode == 0 or not acknowledged, f"check: {checked.stdout}{checked.stderr}"
    server = Server(binary, data)
    try:
        client = Client(server.port)
        series = {"series": [{"event": "*"}], "interval": "total", "breakdown": {"property": "batch", "limit": 10000}}
        rows = client.good("POST", "/v1/query/segmentation", series)["data"]
        found = {row["breakdown"]: row["value"] for row in rows}
        for entry in history.entries:
            count, whole = found.pop(entry.batch, 0), len(entry.events)
            expected = {0, whole}
            if entry in acknowledged:
                expected = {whole}
            elif entry.sent > place:
                expected = {0}
            if entry is history.deleted_batch and history.deletion:
                if (history.deletion.acknowledged or 1 << 60) <= place:
                    expected = {0}
                elif history.deletion.sent < place:
                    expected |= {0}
            assert count in expected, f"of batch {entry.batch} there are {count} events, expected {expected}"
        assert not found, f"events that nobody sent: {found}"
        for entry in random.Random(place).sample(acknowledged, min(3, len(acknowledged))):
            told = client.good("POST", "/v1/events", entry.events)
            assert told["accepted"] == 0, f"sent again, batch {entry.batch} counts twice: {told}"
        # It goes on, durably.
        client.good("POST", "/v1/events", batch_events(None, 99, 0, 5))
        client.good("POST", "/v1/admin/seal")
        return sum(row["value"] for row in rows)
    finally:
        server.kill()


def cut_everywhere(kind, binary, cut_count, seed, directory, folder):
    begun = time.monotonic()
    disk, mount_point = Disk(FILE_SYSTEMS[kind][0]), os.path.join(folder, "mounted")
    os.makedirs(mount_point, exist_ok=True)
    mounted = Mounted(directory, f"{kind}-recorded", disk, kind, mount_point)
    history = History(disk)
    try:
        mounted.make()
        start = dict(disk.pages)
        disk.is_recording = True
        mounted.mount()
        record(history, binary, os.path.join(mount_point, "data"), seed)
    finally:
        disk.is_recording = False
        mounted.close()
    log = disk.log
    flushes = [at + 1 for at, operation in enumerate(log) if operation is None]
    print(f"{kind}: {len(history.entries)} requests with events, {len(log)} operations of the disk, {len(flushes)} of them flushes", flush=True)
    dice = random.Random(seed)
    # Half right after a flush or an answer, where most is promised, half anywhere. The first flushes are of the mount.
    promised = flushes + [entry.acknowledged for entry in history.entries if entry.acknowledged]
    places = [dice.choice(promised) for _ in range(cut_count // 2)]
    places += [dice.randrange(1, len(log) + 1) for _ in range(cut_count - len(places))]
    cutter = Cutter(start, log, seed)
    findings = 0
    for number, place in enumerate(sorted(places)):
        pages, what = cutter.cut(place)
        left = Mounted(directory, f"{kind}-{number}", Disk(disk.size, pages), kind, mount_point)
        try:
            left.mount()
            events = check(history, binary, os.path.join(mount_point, "data"), place)
        except AssertionError as finding:
            findings += 1
            print(f"{kind}: cut at {place} ({what}): {finding}", flush=True)
        else:
            if number % 50 == 0:
                print(f"{kind}: cut {number} at {place} ({what}): {events} events", flush=True)
        finally:
            left.close()
    seconds = time.monotonic() - begun
    print(f"{kind}: {len(places)} cuts at {len(set(places))} places, {findings} findings, {seconds:.0f} s", flush=True)
    return findings


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--flywheel", default="target/debug/flywheel", help="the program")
    parser.add_argument("--fs", default=",".join(FILE_SYSTEMS), help="file systems, with commas")
    parser.add_argument("--cuts", type=int, default=2000, help="cuts of each file system")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    binary = os.path.abspath(arguments.flywheel)
    with tempfile.TemporaryDirectory(prefix="powercut-") as folder:
        disks = os.path.join(folder, "disks")
        os.makedirs(disks)
        directory = DiskDirectory(disks)
        try:
            findings = 0
            for kind in arguments.fs.split(","):
                findings += cut_everywhere(kind, binary, arguments.cuts, arguments.seed, directory, folder)
        finally:
            directory.close()
    sys.exit(1 if findings else 0)


if __name__ == "__main__":
    main()
