"""The questions of the peers' benchmark, as queries of ours, and our answers as its rows."""

import collections
import datetime as dt

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
REVENUE = {"any_of": ["seat_added", "plan_upgraded", "subscription_renewed", "addon_purchased"]}
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
    "Q9": [("lifecycle", {"interval": "week", **RANGE, **AS_OF})],
    "Q10a": [("segmentation", {"series": [{"event": REVENUE, "measure": {"sum": "amount"}}],
                               "interval": "month", "breakdown": {"property": "plan"}, **RANGE, **AS_OF})],
    "Q10b": [("retention", {"birth": REVENUE, "return": REVENUE, "interval": "month", "periods": 1, "cohorts": "recurring",
                            "entity": "account", "measure": {"sum": "amount"}, **RANGE, **AS_OF})],
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
    if question == "Q9":
        return [[day(row["time"]) // 7, *(row[name] for name in ("new", "retained", "resurrected", "churned"))]
                for row in data[0]]
    if question == "Q10b":
        cents = {(row["cohort"], row["period"]): (row["size"], round(row["value"] * 100)) for row in data[0]}
        return [[int(month[:4] + month[5:7]), size, kept, cents[month, 1][1]]
                for (month, period), (size, kept) in cents.items() if period == 0 and size]
    if question == "Q10a":
        return [[int(row["time"][:4] + row["time"][5:7]), row["breakdown"], round(row["value"] * 100)]
                for row in data[0] if row["value"]]
    raise KeyError(question)
