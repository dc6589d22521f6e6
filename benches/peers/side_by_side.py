"""Runs the peers' benchmark with this project as one more peer, in one run, interleaved.

    python3 benches/peers/side_by_side.py --harness PEERS --events 10000000 --peers chdb,duckdb,polars,flywheel

`PEERS` is the directory of the benchmark (`bench.py`, `generate.py`, one file for each peer). All other arguments are
its own. Our times include the request over HTTP and the JSON of the answer; the others run in process and have neither.
Loading is `flywheel import` of the Parquet file that all peers load, with string ids, and `flywheel compact`, as the
peers bring theirs into the best order. `FLYWHEEL` names the binary (default: target/release/flywheel).
"""

import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
if "--harness" in sys.argv:
    place = sys.argv.index("--harness")
    os.environ["PEERS_HARNESS"] = str(pathlib.Path(sys.argv[place + 1]).resolve())
    del sys.argv[place : place + 2]
if "PEERS_HARNESS" not in os.environ:
    sys.exit("say where the benchmark is: --harness PEERS")
sys.path[:0] = [str(HERE), str(HERE.parent), os.environ["PEERS_HARNESS"]]

import bench  # noqa: E402
import peer  # noqa: E402
from questions import QUESTIONS, rows  # noqa: E402
from served import Served  # noqa: E402

BINARY = os.environ.get("FLYWHEEL", str(HERE.parent.parent / "target" / "release" / "flywheel"))
MAP = "user=user_id,account=account_id,time=timestamp,event=event"


class Flywheel(peer.Peer):
    """A server of its own for each process of the benchmark."""

    server = None

    def load(self, source):
        command = [BINARY, "--data", str(self.home), "import", str(source / "events.parquet"), "--map", MAP]
        command += ["--time-unit", "ms"]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        subprocess.run([BINARY, "--data", str(self.home), "compact"], check=True, stdout=subprocess.DEVNULL)

    def open(self):
        self.server = Served(BINARY, self.home)

    def run(self, query):
        if query not in QUESTIONS:
            raise NotImplementedError
        answers = []
        for kind, body in QUESTIONS[query]:
            answers.append(self.server.call("POST", f"/v1/query/{kind}", body))
        return query, answers

    def rows(self, answer):
        query, answers = answer
        return rows(query, [json.loads(text) for text in answers])

    def pid(self):
        return self.server.process.pid if self.server else None

    def close(self):
        if self.server:
            self.server.stop()


# Worker processes import this file anew, and find the peer by its name.
sys.modules["peer_flywheel"] = sys.modules[__name__]
peer.PEERS["flywheel"] = ("peer_flywheel", "Flywheel", {})

if __name__ == "__main__":
    bench.main()
