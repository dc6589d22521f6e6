"""Asks a running server the questions of the peers' benchmark, checks every row, and times them.

    python3 benches/peers/questions.py --url http://127.0.0.1:7070 --expected expected/10000000-500000-1.json

The time of a question is from sending the request to the last byte of the answer, JSON included: the median of
`--runs` after a first one that is checked. The rows expected are those on which all peers agreed.
"""

import argparse
import collections
import datetime as dt
import http.client
import json
import statistics
import time
import urllib.parse

FIRST_DAY = dt.date(2025, 1, 6)
RANGE = {"from": "2025-01-06", "to": "2025-07-05"}  # 180 days
AS_OF = {"as_of": "2026-01-01"}


def day(text):
    return (dt.date.fromisoformat(text) - FIRST_DAY).days


def funnel(steps, window, **more):
    return [("funnel", {"steps": steps, "window": window, "strict_time": True, **RANGE, **AS_OF, **more})]


def active_users(days):
    series = [{"event": "*", "measure": "users"}]
    return ("segmentation", {"series": series, "interval": "day", "rolling": f"{days}d", **RANGE, **AS_OF})


WEB = {"event": "project_created", "where": {"property": "platform", "op": "eq", "value": "web"}}
QUESTIONS = {
    "Q1": funnel(["signup", "activate", "project_created"], "7d"),
    "Q2": funnel(["signup", "activate", WEB, "invite_sent", "upgrade_viewed", "plan_upgraded"], "30d"),
    "Q3": funnel(["feature_used", "limit_hit", "upgrade_viewed"], "14d", breakdown={"property": "country", "limit": 10}),
    "Q4": [("retention", {"birth": "signup", "return": "*", "interval": "day", "periods": 30, **RANGE, **AS_OF})],
    "Q5": [("retention", {"birth": "project_created", "return": "project_created", "interval": "week",
                          "periods": 12, "cohorts": "recurring", **RANGE, **AS_OF})],
    "Q6": [active_users(1), active_users(7), active_users(30)],
    "Q7": [("cohort", {"cohort": {"all": [
        {"did": {"event": "project_created", "where": {"property": "plan", "op": "eq", "value": "free"}},
         "at_least": 3, "from": "2025-06-05", "to": "2025-07-05"},
        {"not": {"did": "plan_upgraded"}}]}, **AS_OF})],
    "Q8": [("segmentation", {"series": [{"event": "feature_used"}], "interval": "day",
                             "breakdown": {"property": "feature", "limit": 20}, **RANGE, **AS_OF})],
    "Q10a": [("segmentation", {
        "series": [{"event": {"any_of": ["seat_added", "plan_upgraded", "subscription_renewed", "addon_purchased"]},
                    "measure": {"sum": "amount"}}],
        "interval": "month", "breakdown": {"property": "plan"}, **RANGE, **AS_OF})],
}


def rows(question, answers):
    """The answers as the rows that `queries.py` of the peers' benchmark describes."""
    data = [answer["data"] for answer in answers]
    if question in ("Q1", "Q2"):
        return [[row["users"] for row in data[0]]]
    if question == "Q3":
        by_country = collections.defaultdict(list)
        for row in data[0]:
            by_country[row["breakdown"]].append(row["users"])
        return [[country, *users] for country, users in by_country.items() if country not in (None, "$other")]
    if question == "Q4":
        return [[day(row["cohort"]), row["period"], row["users"]] for row in data[0] if row["users"]]
    if question == "Q5":
        return [[day(row["cohort"]) // 7, row["period"], row["users"]] for row in data[0] if row["users"]]
    if question == "Q6":
        return [[day(one["time"]), one["value"], week["value"], month["value"]] for one, week, month in zip(*data)]
    if question == "Q7":
        return [[data[0][0]["users"]]]
    if question == "Q8":
        return [[day(row["time"]), row["breakdown"], row["value"]] for row in data[0]
                if row["breakdown"] not in (None, "$other") and row["value"]]
    if question == "Q10a":
        return [[int(row["time"][:4] + row["time"][5:7]), row["breakdown"], round(row["value"] * 100)]
                for row in data[0] if row["value"]]
    raise KeyError(question)


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
