"""Sends each SDK's story to a server of its own and checks every event, profile and merge that arrived.

python check.py FLYWHEEL NODE_DIRECTORY [NAME...]: the program, where npm installed, and which SDKs (all unless told). Prints a
line for each, and a closing line "N passed, N failed, N skipped". What is skipped is told with what is missing.
"""

import contextlib
import datetime
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

from expectations import STORIES
from senders import SENDERS

HERE = pathlib.Path(__file__).parent


@contextlib.contextmanager
def server(program):
    """A server of an empty store, for as long as the block runs."""
    with tempfile.TemporaryDirectory() as data:
        command = [program, "serve", "--data", data, "--listen", "127.0.0.1:0", "--log", "warn"]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            line = process.stdout.readline()
            url = next(word for word in line.split() if word.startswith("http://"))
            yield url.rstrip("/.,")
        finally:
            process.terminate()
            process.wait(20)


def get(url, path):
    try:
        with urllib.request.urlopen(url + path, timeout=300) as answer:
            return json.load(answer)
    except urllib.error.HTTPError as error:
        return {"problem": error.read().decode()}


def moment(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00"))


def quoted(text):
    return urllib.parse.quote(text, safe="")


def differences(expected, found, where):
    """What is expected and not so: of objects the fields that are named, of everything else all of it."""
    if isinstance(expected, dict):
        for name, value in expected.items():
            yield from differences(value, found.get(name) if isinstance(found, dict) else None, f"{where}.{name}")
    elif expected != found:
        yield f"{where}: expected {expected!r}, found {found!r}"


def check_story(url, story, anonymous):
    """Yields everything that is not as the story says."""
    event_count = 0
    for user, told in story["users"].items():
        found = get(url, f"/v1/users/{quoted(user)}?limit=1000")
        if "problem" in found:
            yield f"{user}: {found['problem']}"
            continue
        ids = sorted(id_of.replace("$anonymous", anonymous) for id_of in told["ids"])
        yield from differences({"user": user, "ids": ids}, found, user)
        yield from differences(told.get("profile", {}), found["profile"], f"{user}.profile")
        events = sorted(found["events"], key=lambda event: (moment(event["time"]), event["event"]))
        event_count += len(events)
        names = [event["event"] for event in events]
        if names != [name for name, _, _ in told["events"]]:
            yield f"{user}: expected the events {[name for name, _, _ in told['events']]}, found {names}"
            continue
        for event, (name, account, properties) in zip(events, told["events"]):
            yield from differences(properties, event["properties"], f"{user}.{name}")
            if event.get("account") != account:
                yield f"{user}.{name}: expected the account {account!r}, found {event.get('account')!r}"
    for account, profile in story.get("accounts", {}).items():
        found = get(url, f"/v1/accounts/{quoted(account)}")
        yield from differences(profile, found.get("profile"), f"{account}.profile")
    # Nobody else is there, and nothing else happened.
    body = json.dumps({"series": [{"event": "*"}, {"event": "*", "measure": "users"}], "interval": "total"}).encode()
    request = urllib.request.Request(f"{url}/v1/query/segmentation", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=300) as answer:
        counts = [row["value"] for row in json.load(answer)["data"]]
    yield from differences([event_count, len(story["users"])], counts, "all events and users")


def send(name, url, node):
    """Has the SDK send its story; returns the anonymous id that it made up, if it did."""
    node = pathlib.Path(node).resolve()
    if name in SENDERS:
        command = [sys.executable, HERE / "senders.py", name, url]
    elif name.endswith("_js"):
        command = [sys.executable, HERE / "browser.py", name, url, node / "node_modules"]
    else:
        command = ["node", HERE / "senders.mjs", name, url]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=node)
    if done.returncode != 0:
        raise RuntimeError(f"the sender failed: {done.stderr.strip()[-2000:]}")
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else ""


def missing(name, node):
    """What is not there that the SDK needs."""
    if name.endswith(("_js", "_node")) and not (pathlib.Path(node) / "node_modules").is_dir():
        return "what npm installs"
    return "Chromium" if name.endswith("_js") and "CHROMIUM" not in os.environ else None


def main(program, node, *names):
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    for name in names or STORIES:
        story = STORIES[name]
        if lacking := missing(name, node):
            counts["skipped"] += 1
            print(f"{name:18} skipped: there is no {lacking}")
            continue
        with server(program) as url:
            try:
                wrong = list(check_story(url, story, send(name, url, node)))
            except (RuntimeError, subprocess.TimeoutExpired) as error:
                wrong = [str(error)]
        counts["failed" if wrong else "passed"] += 1
        events = sum(len(user["events"]) for user in story["users"].values())
        ids = sum(len(user["ids"]) for user in story["users"].values())
        arrived = f"{events} events, {len(story['users'])} users of {ids} ids, {len(story.get('accounts', {}))} accounts"
        print(f"{name:18} {'FAILED' if wrong else 'ok: ' + arrived}", flush=True)
        for line in wrong:
            print(f"    {line}")
    print(", ".join(f"{count} {word}" for word, count in counts.items()))
    sys.exit(counts["failed"] > 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
