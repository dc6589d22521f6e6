"""Asks a running server the questions of the peers' benchmark, checks every row, and times them.

    python3 benches/peers/ask.py --url http://127.0.0.1:7070 --expected expected/10000000-500000-1.json

The time of a question is from sending the request to the last byte of the answer, JSON included: the median of
`--runs` after a first one that is checked. The rows expected are those on which all peers agreed.
"""

import argparse
import http.client
import json
import statistics
import time
import urllib.parse

from questions import QUESTIONS, rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://127.0.0.1:7070")
    parser.add_argument("--expected", required=True, help="the saved answers of the peers")
    parser.add_argument("--questions", default=",".join(QUESTIONS))
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    expected = json.load(open(options.expected))
    address = urllib.parse.urlsplit(options.url)
    connection = http.client.HTTPConnection(address.hostname, address.port, timeout=600)

    def ask(kind, body):
        connection.request("POST", f"/v1/query/{kind}", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        text = response.read()
        if response.status != 200:
            raise SystemExit(f"{kind}: {response.status} {text.decode()}")
        return text

    wrong = []
    for question in options.questions.split(","):
        times, engine = [], []
        for run in range(options.runs + 1):
            begun = time.perf_counter()
            answers = [ask(kind, body) for kind, body in QUESTIONS[question]]
            elapsed = (time.perf_counter() - begun) * 1e3
            answers = [json.loads(answer) for answer in answers]
            if run:
                times.append(elapsed)
                engine.append(sum(answer["statistics"]["elapsed_ms"] for answer in answers))
            else:
                is_right = sorted(rows(question, answers)) == sorted(expected[question])
                wrong += [] if is_right else [question]
        scanned = sum(answer["statistics"]["events_scanned"] for answer in answers)
        told = "rows equal" if question not in wrong else "ROWS DIFFER"
        print(f"{question:5} {statistics.median(times):8.1f} ms   engine {statistics.median(engine):8.1f} ms   "
              f"{scanned:>11,} rows read   {told}", flush=True)
    raise SystemExit(f"wrong: {', '.join(wrong)}" if wrong else 0)


if __name__ == "__main__":
    main()
