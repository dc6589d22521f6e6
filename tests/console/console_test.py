"""The console in a real browser: it draws what the API says, without an error of its own.

Each test has a page of its own. After each, whatever the browser complained about is a failure.
`tests/console/run` starts this; `--screenshots` also makes the pictures of docs/images.
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import urllib.error
import urllib.parse
import urllib.request

from playwright.sync_api import sync_playwright

ROOT = pathlib.Path(__file__).resolve().parents[2]
IMAGES = ROOT / "docs" / "images"
DEMO_EVENTS = "60000"
# How long to wait for what will be there: machines of others are slow, and busy.
PATIENCE_MS = 180_000
VIEWS = ["trends", "funnel", "retention", "lifecycle", "stickiness", "paths"]
GROWTH_VIEWS = ["overview", "revenue", "activation", "conversion", "drivers", "pql", "limits", "virality"]


class Server:
    """The program, serving a store of its own on a free port."""

    def __init__(self, *arguments):
        self.folder = tempfile.TemporaryDirectory()
        command = [os.environ["FLYWHEEL"], *arguments, "--data", self.folder.name + "/data", "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        line = self.process.stdout.readline()
        self.url = re.search(r"http://\S+", line).group(0)

    def ask(self, method, path, body=None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data=data, method=method, headers={"Content-Type": "application/json"})
        with urllib.request.urlopen(request) as response:
            return json.load(response)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
        self.folder.cleanup()


class Console(unittest.TestCase):
    server_arguments = ("demo", "--events", DEMO_EVENTS)

    @classmethod
    def setUpClass(cls):
        cls.server = Server(*cls.server_arguments)
        cls.addClassCleanup(cls.server.stop)
        playwright = sync_playwright().start()
        cls.addClassCleanup(playwright.stop)
        # Without a sandbox of its own it also runs as root, as in containers. It shows nothing but our own page.
        cls.browser = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=["--no-sandbox"])

        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        self.complaints = []
        self.expected_complaints = None
        self.page = self.new_page()

    def tearDown(self):
        unexpected = [text for text in self.complaints if not (self.expected_complaints and re.search(self.expected_complaints, text))]
        self.page.context.close()
        self.assertEqual(unexpected, [], "the browser complained")

    def new_page(self, width=1440, height=900, **options):
        context = self.browser.new_context(viewport={"width": width, "height": height}, **options)
        page = context.new_page()
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda message: message.type in ("error", "warning") and self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: request.url.startswith((self.server.url, "blob:", "data:")) or self.complaints.append(f"asked {request.url}"))
        return page

    def address(self, view, query=None, **parameters):
        if query is not None:
            parameters["q"] = json.dumps(query)
        return f"{self.server.url}/#/{view}?{urllib.parse.urlencode(parameters, quote_via=urllib.parse.quote)}"

    def open(self, view, query=None, page=None, **parameters):
        """Opens a view, and gives the answer that it drew as the API tells it to somebody else."""
        page = page or self.page
        with page.expect_response(lambda response: "/v1/query/" in response.url and response.request.method == "POST") as told:
            page.goto(self.address(view, query, **parameters))
        page.wait_for_selector(".status span")
        request = told.value.request
        path = urllib.parse.urlparse(request.url).path.lstrip("/")
        return self.server.ask("POST", path, request.post_data_json)

    def texts(self, selector):
        return [text.strip() for text in self.page.locator(selector).all_inner_texts()]

    def choose(self, label, text):
        """Picks from a list by the keyboard, as everyone can."""
        self.page.get_by_role("button", name=label).first.click()
        self.page.keyboard.type(text)
        self.page.keyboard.press("Enter")


def whole(number):
    return f"{number:,}"


class DrawsWhatTheApiSays(Console):
    def test_every_view_draws_without_a_problem(self):
        for view in VIEWS + GROWTH_VIEWS:
            with self.subTest(view=view):
                answer = self.open(view)
                self.assertGreater(answer["rows"], 0)
                self.assertEqual(self.texts(".problem"), [])
                scanned = whole(answer["statistics"]["events_scanned"])
                self.assertIn(f"{scanned} events scanned", self.texts(".status span"))

    def test_every_tab_draws_without_a_problem(self):
        for view in VIEWS + GROWTH_VIEWS:
            self.open(view)
            for tab in self.texts(".tabs button")[1:]:
                with self.subTest(view=view, tab=tab):
                    with self.page.expect_response(lambda response: "/v1/query/" in response.url):
                        self.page.get_by_role("tab", name=tab).click()
                    self.page.wait_for_selector(".status span")
                    self.assertEqual(self.texts(".problem"), [])

    def test_a_funnel_has_the_users_of_each_step(self):
        answer = self.open("funnel", {"steps": ["signup", "project_created", "invite_sent"], "window": "30d"})
        users = [row["users"] for row in answer["data"]]
        self.assertEqual(self.texts(".funnel-foot > button.number:not(.lost):not(.open)"), [f"{whole(count)} users" for count in users])
        shares = [float(text.replace(" %", "")) for text in self.texts(".funnel-foot strong")]
        for share, row in zip(shares, answer["data"]):
            self.assertAlmostEqual(share, 100 * (row["from_first"] if row["from_first"] is not None else 1), delta=0.06)
        heights = [bar.bounding_box()["height"] for bar in self.page.locator(".funnel-kept").all()]
        for height, count in zip(heights, users):
            self.assertAlmostEqual(height / heights[0], count / users[0], delta=0.02)

    def test_a_retention_has_the_rate_of_each_cell(self):
        answer = self.open("retention")
        drawn = self.page.locator(".triangle tbody tr:not(.mean)").all()
        cohorts = sorted({row["cohort"] for row in answer["data"]})
        self.assertEqual(len(drawn), len(cohorts))
        for line, cohort in zip(drawn, cohorts):
            rows = [row for row in answer["data"] if row["cohort"] == cohort and row["rate"] is not None]
            told = [row["rate"] for row in rows if row["complete"] or row["users"]]
            cells = [float(text) for text in line.locator(".heat").all_inner_texts()]
            self.assertEqual(len(cells), len(told))
            for cell, rate in zip(cells, told):
                self.assertAlmostEqual(cell, 100 * rate, delta=0.051)

    def test_a_trend_has_a_point_for_each_bucket(self):
        answer = self.open("trends", {"series": [{"event": "signup", "measure": "users"}], "interval": "week"}, range="90d")
        values = [row["value"] for row in answer["data"]]
        self.assertEqual(self.texts("table.data tbody td.number"), [whole(value) for value in values])
        path = self.page.locator(".chart path.line").first.get_attribute("d")
        heights = [float(pair.split(",")[1]) for pair in re.findall(r"[-\d.]+,[-\d.]+", path)]
        self.assertEqual(len(heights), len(values))
        # The more there is, the higher it is drawn: further from the bottom.
        top, bottom = min(heights), max(heights)
        self.assertEqual(heights.index(top), values.index(max(values)))
        self.assertEqual(heights.index(bottom), values.index(min(values)))

    def test_a_flow_has_a_ribbon_for_each_move(self):
        answer = self.open("paths", {"start": "signup", "steps": 3, "limit": 5})
        ribbons = self.page.locator(".ribbon")
        self.assertEqual(ribbons.count(), answer["rows"])
        labels = sorted(label.get_attribute("aria-label") for label in ribbons.all())
        for row in answer["data"]:
            names = " → ".join({"$end": "(end)", "$other": "(other)"}.get(name, name) for name in (row["source"], row["target"]))
            self.assertTrue(any(label.startswith(f"{names}: {whole(row['users'])} users") for label in labels), names)

    def test_revenue_has_a_bar_for_each_movement(self):
        answer = self.open("revenue")
        moves = ("new", "expansion", "reactivation", "contraction", "churn")
        self.assertEqual(self.page.locator("rect.bar").count(), sum(row[move] > 0 for row in answer["data"] for move in moves))

    def test_a_lifecycle_has_a_bar_for_each_state(self):
        answer = self.open("lifecycle")
        bars = sum(row[state] > 0 for row in answer["data"] for state in ("new", "retained", "resurrected", "churned"))
        self.assertEqual(self.page.locator("rect.bar").count(), bars)


class LeadsToTheUsers(Console):
    def test_a_number_opens_its_users_and_saves_them(self):
        answer = self.open("funnel", {"steps": ["signup", "project_created"], "window": "30d"})
        expected = answer["data"][0]["users"] - answer["data"][1]["users"] - answer["data"][0]["in_progress"]
        self.page.locator(".funnel-lost").first.click()
        self.page.wait_for_selector(".members li")
        self.page.wait_for_selector("dialog strong")
        self.assertEqual(self.texts("dialog strong"), [whole(expected)])
        self.page.get_by_label("Name of the cohort").fill("gave_up")
        self.page.get_by_role("button", name="Save as cohort").click()
        self.page.wait_for_selector("#toast.shown")
        count = self.server.ask("POST", "v1/query/cohort", {"cohort": "gave_up"})
        self.assertEqual(count["data"], [{"users": expected}])
        with self.page.expect_download() as download:
            self.page.get_by_role("button", name="Download CSV").click()
        text = pathlib.Path(download.value.path()).read_text()
        self.assertEqual(len(text.splitlines()), expected + 1)
        first = self.texts(".members li a")[0]
        self.page.locator(".members li a").first.click()
        self.page.wait_for_selector(".timeline li")
        self.assertEqual(self.texts(".person aside h2"), [first])
        user = self.server.ask("GET", f"v1/users/{first}")
        self.assertEqual(self.page.locator(".timeline li").count(), min(user["event_count"], 100))
        self.server.ask("DELETE", "v1/cohorts/gave_up")

    def test_the_numbers_of_every_view_have_users_behind_them(self):
        for view in VIEWS:
            with self.subTest(view=view):
                self.open(view)
                self.page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
                button = self.page.locator(".result table button").first
                shown = button.inner_text().strip()
                button.click()
                self.page.wait_for_selector("dialog strong, dialog .problem")
                self.assertEqual(self.texts("dialog .problem"), [])
                if view != "retention":
                    self.assertEqual(self.texts("dialog strong"), [shown])
                self.page.keyboard.press("Escape")

    def test_numbers_of_growth_have_users_behind_them(self):
        for view in ("overview", "activation", "conversion", "virality"):
            with self.subTest(view=view):
                self.open(view)
                button = self.page.locator(".result table button").first
                shown = button.inner_text().strip()
                button.click()
                self.page.wait_for_selector("dialog strong, dialog .problem")
                self.assertEqual(self.texts("dialog .problem"), [])
                self.assertEqual(self.texts("dialog strong"), [shown])
                self.page.keyboard.press("Escape")

    def test_a_cohort_is_built_and_used(self):
        self.page.goto(f"{self.server.url}/#/cohorts")
        self.page.get_by_label("Name").fill("creators")
        self.page.get_by_label("Since").fill("")
        self.page.get_by_label("Since").blur()
        self.page.get_by_role("button", name="Save", exact=True).click()
        self.page.wait_for_selector(".cohorts li")
        stored = self.server.ask("GET", "v1/cohorts/creators")
        self.assertEqual(stored["cohort"], {"did": "project_created"})
        everyone = self.open("trends", {"series": [{"event": "*", "measure": "users"}], "interval": "month"}, range="12mo")
        members = self.open("trends", {"series": [{"event": "*", "measure": "users"}], "interval": "month", "where": {"cohort": "creators"}}, range="12mo")
        self.assertLess(sum(row["value"] for row in members["data"]), sum(row["value"] for row in everyone["data"]))
        self.server.ask("DELETE", "v1/cohorts/creators")


class IsHandled(Console):
    def test_a_query_is_built_by_the_keyboard(self):
        self.page.goto(self.server.url)
        self.page.wait_for_selector(".tile")
        self.page.keyboard.press("g")
        self.page.keyboard.press("t")
        self.page.wait_for_selector(".status span")
        self.choose("Event of series A", "signu")
        self.page.wait_for_url(lambda url: "signup" in url)
        self.page.get_by_role("button", name="Split by").first.click()
        self.page.keyboard.type("country")
        self.page.keyboard.press("ArrowDown")
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector(".legend li")
        query = json.loads(urllib.parse.parse_qs(self.page.evaluate("location.hash").split("?")[1])["q"][0])
        self.assertEqual(query["series"][0]["event"], "signup")
        self.assertEqual(query["breakdown"]["property"], "country")

    def test_an_address_is_the_whole_view(self):
        self.open("funnel", {"steps": ["signup", "project_created"], "window": "7d", "breakdown": {"property": "country", "on": "user", "limit": 2}}, range="12mo")
        drawn = self.texts(".funnel-foot")
        other = self.new_page()
        other.goto(self.page.url)
        other.wait_for_selector(".funnel-foot")
        self.assertEqual([text.strip() for text in other.locator(".funnel-foot").all_inner_texts()], drawn)
        other.context.close()

    def test_the_command_that_it_shows_gives_the_same_answer(self):
        answer = self.open("retention")
        self.page.keyboard.press("j")
        command = self.texts("dialog pre")[0]
        told = subprocess.run(["bash", "-c", command.replace("curl ", "curl -s ", 1)], capture_output=True, text=True, check=True).stdout
        self.assertEqual(json.loads(told)["data"], answer["data"])

    def test_a_problem_is_told_with_its_place_and_hint(self):
        self.expected_complaints = "400"
        self.page.goto(self.address("funnel", {"steps": ["signup", "project_created"], "windw": "7d"}))
        self.page.wait_for_selector(".problem")
        said = self.texts(".problem")[0]
        self.assertIn("/windw", said)
        self.assertIn("did you mean \"window\"?", said)
        self.page.goto(self.address("funnel", range="30d") + "&q=%7B")
        self.page.wait_for_selector(".problem")
        self.assertIn("holds no query", self.texts(".problem")[0])

    def test_a_query_is_kept_under_a_name(self):
        self.open("lifecycle", range="12mo")
        self.page.get_by_role("button", name="Save", exact=True).click()
        self.page.get_by_label("Name").fill("comings_and_goings")
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector("#toast.shown")
        self.assertEqual(self.server.ask("GET", "v1/queries/comings_and_goings")["query"]["kind"], "lifecycle")
        self.page.goto(f"{self.server.url}/#/saved")
        self.page.get_by_role("button", name="Open").click()
        self.page.wait_for_selector("rect.bar")
        self.server.ask("DELETE", "v1/queries/comings_and_goings")

    def test_it_fits_a_small_screen_and_a_dark_room(self):
        self.page.context.close()
        self.page = self.new_page(width=390, height=800, color_scheme="dark", reduced_motion="reduce")
        for view in ["home", *VIEWS, *GROWTH_VIEWS, "model", "events", "users", "cohorts", "live"]:
            with self.subTest(view=view):
                self.page.goto(f"{self.server.url}/#/{view}")
                self.page.wait_for_timeout(300)
                self.assertLessEqual(self.page.evaluate("document.documentElement.scrollWidth"), 390)
        paper = self.page.evaluate("getComputedStyle(document.documentElement).backgroundColor")
        self.assertLess(sum(int(part) for part in re.findall(r"\d+", paper)[:3]), 120)


class ShowsWhatArrives(Console):
    server_arguments = ("serve",)

    def test_events_appear_as_they_arrive_and_stay_text(self):
        self.page.goto(self.server.url)
        self.page.wait_for_selector(".empty pre")
        self.page.goto(f"{self.server.url}/#/live")
        self.page.wait_for_selector(".empty pre")
        bad = "<img src=x onerror=document.title='run'>"
        self.server.ask("POST", "v1/events", [{"event": bad, "user": bad, "properties": {bad: bad}}])
        self.page.wait_for_selector(".live li")
        self.assertIn(bad, self.texts(".live li")[0])
        for view in ("events", f"users?id={urllib.parse.quote(bad)}", "trends", "home"):
            self.page.goto(f"{self.server.url}/#/{view}")
            self.page.reload()
            self.page.wait_for_timeout(400)
            self.assertEqual(self.page.locator("img[src='x']").count(), 0)
            self.assertNotEqual(self.page.title(), "run")


class AsksForAKey(Console):
    server_arguments = ("serve",)

    def test_a_server_with_keys_is_asked_with_the_one_that_is_entered(self):
        self.expected_complaints = "401"
        key = self.server.ask("POST", "v1/admin/keys", {"scope": "admin", "name": "ops"})["key"]
        self.page.goto(self.server.url)
        self.page.wait_for_selector("dialog[aria-label=Key]")
        self.page.get_by_label("Key", exact=True).last.fill(key)
        self.page.keyboard.press("Enter")
        self.page.wait_for_selector(".empty pre")
        self.assertEqual(self.page.evaluate("Object.values(sessionStorage)"), [key])
        self.assertNotIn(key, self.page.evaluate("JSON.stringify(localStorage) + document.cookie + location.href"))


def screenshots():
    """Makes the pictures of docs/images: of the demo's history, which is the same everywhere."""
    from PIL import Image

    case = DrawsWhatTheApiSays()
    DrawsWhatTheApiSays.setUpClass()
    IMAGES.mkdir(parents=True, exist_ok=True)
    shots = {
        "funnel": ("funnel", {"steps": ["signup", "project_created", "invite_sent", "plan_upgraded"], "window": "30d"}, {"range": "26w"}, "light"),
        "retention": ("retention", None, {}, "light"),
        "paths": ("paths", None, {}, "light"),
        "lifecycle": ("lifecycle", None, {}, "dark"),
        "revenue": ("revenue", None, {}, "light"),
    }
    for name, (view, query, parameters, scheme) in shots.items():
        case.complaints = []
        page = case.new_page(width=1280, height=760, color_scheme=scheme)
        case.open(view, query, page=page, **parameters)
        page.wait_for_timeout(300)
        file = IMAGES / f"console-{name}.png"
        page.screenshot(path=file)
        page.context.close()
        Image.open(file).convert("RGB").quantize(64, dither=Image.Dither.NONE).save(file, optimize=True)
        print(f"{file.relative_to(ROOT)}: {file.stat().st_size // 1024} KiB")
    DrawsWhatTheApiSays.doClassCleanups()


if __name__ == "__main__":
    wants_screenshots = "--screenshots" in sys.argv
    if wants_screenshots:
        sys.argv.remove("--screenshots")
    outcome = unittest.main(exit=False, verbosity=2).result
    if outcome.wasSuccessful() and wants_screenshots:
        screenshots()
    sys.exit(not outcome.wasSuccessful())
