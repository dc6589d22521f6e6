"""What each of the peers' questions costs for each item that it touches, on a store that has their events.

    python3 benches/peers/per_item.py --data STORE [--binary target/release/flywheel] [--cold]

Items are the rows of the events that a question names, or the days on which users were active where it asks about any event.
Times are medians of 25 over one connection: with the request, and what the server says that the answer took. With
`--cold`, which needs root, also the bytes that the server read from the disk for the question after the page cache was dropped.
"""

import argparse
import json
import pathlib
import re
import statistics
import sys
import time

sys.path.insert(1, str(pathlib.Path(__file__).resolve().parent.parent))

from questions import AS_OF, QUESTIONS, RANGE  # noqa: E402
from served import Served  # noqa: E402

ROUNDS = 25
ANY_EVENT = {"Q4", "Q6", "Q9"}


class Server(Served):
    def ask(self, kind, body):
        return json.loads(self.call("POST", f"/v1/query/{kind}", body))

    def bytes_read(self):
        told = pathlib.Path(f"/proc/{self.process.pid}/io").read_text()
        return int(re.search(r"^read_bytes: (\d+)", told, re.MULTILINE).group(1))


def events_of(value):
    """The names of the events that a query selects."""
    if isinstance(value, dict):
        for name, part in value.items():
            if name in ("event", "birth", "return", "did") and isinstance(part, str):
                yield part
            elif name == "any_of" or name == "steps":
                yield from (step for step in part if isinstance(step, str))
                yield from events_of([step for step in part if not isinstance(step, str)])
            else:
                yield from events_of(part)
    elif isinstance(value, list):
        for part in value:
            yield from events_of(part)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--binary", default="target/release/flywheel")
    parser.add_argument("--cold", action="store_true")
    options = parser.parse_args()

    with Server(options.binary, options.data) as server:
        measured = list(measure(server))
    for line, items, queries in measured:
        if options.cold:
            size = bytes_read_cold(queries, options)
            line += f", {size / 1e6:6.1f} MB read, {size / items:5.1f} bytes an item"
        print(line, flush=True)


def measure(server):
    """A line for each question, how many items it touches, and its queries."""
    total = {"interval": "total", **RANGE, **AS_OF}
    names = {name for queries in QUESTIONS.values() for _, body in queries for name in events_of(body)} - {"*"}
    rows = {}
    for name in names:
        rows[name] = server.ask("segmentation", {"series": [{"event": name}], **total})["data"][0]["value"]
    by_day = {"series": [{"event": "*", "measure": "users"}], "interval": "day", **RANGE, **AS_OF}
    active_days = sum(row["value"] for row in server.ask("segmentation", by_day)["data"])

    for question, queries in QUESTIONS.items():
        times, told = [], []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            elapsed = [server.ask(kind, body)["statistics"]["elapsed_ms"] for kind, body in queries]
            times.append((time.perf_counter() - begun) * 1000)
            told.append(sum(elapsed))
        if question in ANY_EVENT:
            what, items = "users and days", active_days
        else:
            asked = {name for _, body in queries for name in events_of(body)}
            what, items = "rows", sum(rows[name] for name in asked)
        ms = statistics.median(told)
        line = f"{question:5} {items:>10,} {what:15} {statistics.median(times):7.2f} ms, {ms:7.2f} ms in the server"
        yield line + f", {ms * 1e6 / items:7.2f} ns an item", items, queries


def bytes_read_cold(queries, options):
    """Of a server of its own, when the system has nothing of the store in memory, but the program itself."""
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3")
    pathlib.Path(options.binary).read_bytes()
    with Server(options.binary, options.data) as server:
        before = server.bytes_read()
        for kind, body in queries:
            server.ask(kind, body)
        return server.bytes_read() - before


main()
