"""What a store costs as its shape changes: many names, one heavy user, late events, merges, deletions, ingest beside queries.

    python3 benches/shapes.py --events 10000000 --binary target/release/flywheel --scratch /tmp/shapes

Makes its events (seed 1) with numpy and pyarrow, imports them, and asks each question five times over one connection,
once everything is sealed and nothing else runs. Prints medians in milliseconds.
"""

import argparse
import pathlib
import shutil
import statistics
import subprocess
import threading
import time

import numpy
import pyarrow
import pyarrow.parquet

from served import Served

DAY_MS = 86_400_000
BEGIN_MS = 1_700_006_400_000  # 2023-11-15
DAYS = 180
RANGE = {"from": "2023-11-15", "to": "2024-05-13", "as_of": "2024-05-13"}


def questions(names):
    steps = names[:3]
    return {
        "funnel of 3 events, 7 days": ("funnel", {"steps": steps, "window": "7d"}),
        "retention by day, any return": ("retention", {"birth": names[0], "interval": "day", "periods": 30}),
        "users by day, any event": (
            "segmentation",
            {"series": [{"event": "*", "measure": "users"}], "interval": "day"},
        ),
        "one event by day and plan": (
            "segmentation",
            {"series": [{"event": names[1]}], "interval": "day", "breakdown": {"property": "plan"}},
        ),
        "lifecycle by week": ("lifecycle", {"interval": "week"}),
    }


def make(path, events, users, names, heavy=0):
    """Events of users whose activity is spread as in products: few do much. Names follow a law of Zipf."""
    dice = numpy.random.default_rng(1)
    user = (users * dice.random(events) ** 2).astype(numpy.int64)
    user[: heavy] = users
    weights = 1 / numpy.arange(1, names + 1)
    name = dice.choice(names, events, p=weights / weights.sum()).astype(numpy.int32)
    time_ms = BEGIN_MS + (dice.random(events) * DAYS * DAY_MS).astype(numpy.int64)
    order = numpy.argsort(time_ms)
    table = {
        "user": pyarrow.DictionaryArray.from_arrays(
            pyarrow.array(user[order].astype(numpy.int32)), [f"u{index:07}" for index in range(users + 1)]
        ),
        "event": pyarrow.DictionaryArray.from_arrays(
            pyarrow.array(name[order]), [f"event_{index}" for index in range(names)]
        ),
        "time": pyarrow.array(time_ms[order]),
        "plan": pyarrow.DictionaryArray.from_arrays(
            pyarrow.array((user[order] % 3).astype(numpy.int32)), ["free", "pro", "team"]
        ),
    }
    pyarrow.parquet.write_table(pyarrow.table(table), path)


class Server(Served):
    def ask(self, names, label):
        """The median of five of each question, after one that is not counted."""
        medians = {}
        for what, (kind, body) in questions(names).items():
            times = []
            for _ in range(6):
                begun = time.perf_counter()
                self.call("POST", f"/v1/query/{kind}", {**body, **RANGE})
                times.append((time.perf_counter() - begun) * 1000)
            medians[what] = statistics.median(times[1:])
        print(f"{label}: " + ", ".join(f"{what} {ms:.1f}" for what, ms in medians.items()), flush=True)

    def timed(self, label, method, path, body=None):
        begun = time.perf_counter()
        self.call(method, path, body)
        print(f"{label}: {time.perf_counter() - begun:.1f} s", flush=True)


def late_events(count, number):
    dice = numpy.random.default_rng(number)
    users = (400_000 * dice.random(count)).astype(int)
    times = BEGIN_MS + (dice.random(count) * DAYS * DAY_MS).astype(int)
    return [
        {"id": f"{number}-{at}", "user": f"u{user:07}", "event": f"event_{at % 5}", "time": int(ms)}
        for at, (user, ms) in enumerate(zip(users, times))
    ]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--binary", default="target/release/flywheel")
    parser.add_argument("--scratch", type=pathlib.Path, default=pathlib.Path("/tmp/shapes"))
    options = parser.parse_args()
    shutil.rmtree(options.scratch, ignore_errors=True)
    options.scratch.mkdir(parents=True)
    users = max(options.events // 20, 1)

    def load(label, **shape):
        source, data = options.scratch / "events.parquet", str(options.scratch / label.replace(" ", "-"))
        make(source, options.events, users, **shape)
        begun = time.perf_counter()
        command = [options.binary, "--data", data, "import", str(source), "--time-unit", "ms"]
        subprocess.run([*command, "--map", "user=user,time=time,event=event"], check=True, stdout=subprocess.DEVNULL)
        took = time.perf_counter() - begun
        subprocess.run([options.binary, "--data", data, "compact"], check=True, stdout=subprocess.DEVNULL)
        size = sum(file.stat().st_size for file in pathlib.Path(data).iterdir())
        print(f"{label}: {options.events / took:,.0f} events/s, {size / options.events:.2f} bytes an event", flush=True)
        return Server(options.binary, data)

    names = [f"event_{index}" for index in range(3)]
    with load("5,000 names", names=5_000) as server:
        server.ask(names, "5,000 names")
    with load("a user with a tenth", names=24, heavy=options.events // 10) as server:
        server.ask(names, "a user with a tenth of the events")
    with load("24 names", names=24) as server:
        server.ask(names, "as loaded")
        change(server, names, users)
        write_beside(server, names)


def change(server, names, users):
    """Late events, merges and deletions, and what compaction makes of them."""
    for number in range(10):
        server.call("POST", "/v1/events", late_events(10_000, number))
    server.ask(names, "with 100,000 late events in memory")
    server.timed("seal", "POST", "/v1/admin/seal")
    server.ask(names, "with them sealed")
    pairs = [{"from": f"u{2 * at:07}", "into": f"u{2 * at + 1:07}"} for at in range(users // 40)]
    begun = time.perf_counter()
    for at in range(0, len(pairs), 1_000):
        server.call("POST", "/v1/identities", pairs[at : at + 1_000])
    took = time.perf_counter() - begun
    print(f"{len(pairs):,} merges: {took:.1f} s, {len(pairs) / took:,.0f} a second", flush=True)
    server.ask(names, "with them merged")
    begun, count = time.perf_counter(), users // 400
    for at in range(count):
        server.call("DELETE", f"/v1/users/u{users // 2 + at:07}")
    print(f"{count:,} deletions: {time.perf_counter() - begun:.1f} s", flush=True)
    server.ask(names, "with users deleted")
    server.timed("compact", "POST", "/v1/admin/compact")
    server.ask(names, "after compact")


def write_beside(server, names):
    """Questions while clients write as fast as they are answered."""
    over, stored = threading.Event(), []
    bodies = [late_events(2_000, 100 + number) for number in range(64)]
    for body in bodies:
        for event in body:
            del event["id"]

    def write(number):
        connection, at = server.connect(), number
        while not over.is_set():
            server.call("POST", "/v1/events", bodies[at % len(bodies)], connection)
            stored.append(len(bodies[0]))
            at += 4

    begun = time.perf_counter()
    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    for _ in range(3):
        server.ask(names, "while four clients write")
    over.set()
    for writer in writers:
        writer.join()
    print(f"meanwhile {sum(stored) / (time.perf_counter() - begun):,.0f} events/s were stored", flush=True)


main()
