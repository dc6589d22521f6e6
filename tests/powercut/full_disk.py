"""Fills a small disk under the real program, and makes room on it again.

The disk is a tmpfs, or ext4 on a file. What was acknowledged must be there at each moment; writes of all kinds are refused
before nothing is left, with 503 and `Retry-After`, and `/readyz` says why; queries and deletions go on; on a disk that
others filled to the last byte nothing is lost; and when there is room again, writes go on without a restart.

Needs root and, for ext4, a loop device.
"""

import argparse
import contextlib
import os
import random
import subprocess
import tempfile

from powercut import Client, Server, run

COUNT = {"series": [{"event": "*"}], "interval": "total"}
WRITES = [
    ("/v1/users", [{"user": "u1", "set": {"plan": "pro"}}]),
    ("/v1/identities", [{"from": "a", "into": "b"}]),
    ("/v1/batch", {"batch": [{"type": "track", "event": "e", "userId": "u", "messageId": "1"}]}),
    ("/capture", {"event": "e", "distinct_id": "u"}),
    ("/track", [{"event": "e", "properties": {"distinct_id": "u"}}]),
    ("/2/httpapi", {"events": [{"event_type": "e", "user_id": "u"}]}),
]


def events(number):
    """Of fifty users in turn, with values that take room."""
    time_ms = 1_700_000_000_000 + number * 1000
    return [
        {
            "event": "e",
            "user": f"u{number % 50}",
            "id": f"{number}-{index}",
            "time": time_ms + index,
            "properties": {"x": random.randbytes(100).hex()},
        }
        for index in range(200)
    ]


@contextlib.contextmanager
def small_disk(kind, size):
    with tempfile.TemporaryDirectory(prefix="full-") as folder:
        mount_point = os.path.join(folder, "mounted")
        os.makedirs(mount_point)
        if kind == "tmpfs":
            run("mount", "-t", "tmpfs", "-o", f"size={size}", "none", mount_point)
        else:
            image = os.path.join(folder, "image")
            run("truncate", "-s", size, image)
            run("mkfs.ext4", "-q", image)
            run("mount", "-o", "loop", image, mount_point)
        try:
            yield mount_point
        finally:
            run("umount", mount_point)


def fill(binary, kind, size):
    with small_disk(kind, size) as mount_point:
        data, filler = os.path.join(mount_point, "data"), os.path.join(mount_point, "filler")
        free = lambda: os.statvfs(mount_point).f_bavail * os.statvfs(mount_point).f_frsize >> 10
        ballast = os.path.join(mount_point, "ballast")
        with open(ballast, "wb") as file:
            file.write(b"x" * (os.statvfs(mount_point).f_bavail * os.statvfs(mount_point).f_frsize // 3))
        server = Server(binary, data)
        try:
            client, stored, number = Client(server.port), 0, 0

            def count():
                return client.good("POST", "/v1/query/segmentation", COUNT)["data"][0]["value"]

            while True:
                status, told = client.ask("POST", "/v1/events", events(number))
                number += 1
                if status != 200:
                    break
                stored += told["accepted"]
                if number % 40 == 0:
                    client.good("POST", "/v1/admin/seal")
            assert status == 503, (status, told)
            left = free()
            assert left > 0, "it was filled to the last byte"
            status, told = client.ask("GET", "/readyz")
            assert (status, told["status"]) == (503, "read_only"), told
            assert client.ask("GET", "/healthz")[0] == 200
            for path, body in WRITES:
                assert client.ask("POST", path, body)[0] == 503, path
            assert count() == stored
            with contextlib.suppress(OSError), open(filler, "wb", buffering=0) as file:
                while True:
                    file.write(b"x" * 4096)
            assert client.ask("POST", "/v1/events", events(number))[0] == 503
            assert count() == stored, "on a full disk"
            os.remove(filler)
            # Deletion has the room that writes leave.
            for user in range(40):
                client.good("DELETE", f"/v1/users/u{user}")
            kept = count()
            os.remove(ballast)
            assert client.ask("GET", "/readyz") == (200, {"status": "ready"})
            assert client.good("POST", "/v1/events", events(number))["accepted"] == 200
            client.good("POST", "/v1/admin/compact")
            assert count() == kept + 200
        finally:
            server.kill()
        checked = subprocess.run([binary, "check", "--data", data], capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout
        print(f"{kind} of {size}: {stored} events until {left} KiB were left; went on when there was room", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--flywheel", default="target/debug/flywheel", help="the program")
    parser.add_argument("--size", default="64m")
    arguments = parser.parse_args()
    for kind in ("tmpfs", "ext4"):
        fill(os.path.abspath(arguments.flywheel), kind, arguments.size)


if __name__ == "__main__":
    main()
