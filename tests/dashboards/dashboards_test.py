"""What pandas, polars, DuckDB, Grafana and Schemathesis make of the server's answers. Started by tests/dashboards/run."""

import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import unittest
import urllib.parse
import urllib.request

import duckdb
import pandas
import polars
import pyarrow

ROOT = pathlib.Path(__file__).resolve().parents[2]
DASHBOARD = ROOT / "docs" / "contrib" / "grafana" / "dashboards" / "product.json"
MONTH = {"from": "2026-10-01", "to": "2026-11-01", "as_of": "2026-11-01"}
QUERIES = {
    "segmentation": {"series": [{"event": "*", "measure": "users"}], "interval": "day", "breakdown": {"property": "country", "on": "user", "limit": 3}, **MONTH},
    "funnel": {"steps": ["signup", "project_created", "invite_sent"], "window": "14d", **MONTH},
    "retention": {"birth": "signup", "interval": "week", "periods": 3, **MONTH},
    "lifecycle": {"interval": "week", **MONTH},
    "stickiness": {"period": "28d", **MONTH},
    "paths": {"start": "signup", "steps": 2, "whole": True, **MONTH},
}


class Server:
    """The program, serving a store of its own on a free port."""

    def __init__(self, *arguments):
        self.folder = tempfile.TemporaryDirectory()
        command = [os.environ["FLYWHEEL"], *arguments, "--data", self.folder.name + "/data", "--listen", "127.0.0.1:0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.url = re.search(r"http://\S+", self.process.stdout.readline()).group(0)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.process.stdout.close()
        self.folder.cleanup()


class WithServer(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("demo", "--events", "60000")
        cls.addClassCleanup(cls.server.stop)

    def ask(self, kind, query, accept="application/json"):
        headers = {"Content-Type": "application/json", "Accept": accept}
        request = urllib.request.Request(f"{self.server.url}/v1/query/{kind}", data=json.dumps(query).encode(), headers=headers)
        with urllib.request.urlopen(request) as response:
            return response.read()

    def address(self, kind, query, form):
        return f"{self.server.url}/v1/query/{kind}?format={form}&q={urllib.parse.quote(json.dumps(query))}"

    def rows(self, kind, query):
        return json.loads(self.ask(kind, query))["data"]


def plain(rows):
    """Rows as every reader tells them: missing values as None, lists as lists."""
    def value(cell):
        if cell is None or cell is pandas.NaT or (isinstance(cell, float) and cell != cell):
            return None
        if hasattr(cell, "tolist"):
            cell = cell.tolist()
        return float(cell) if isinstance(cell, (int, float)) and not isinstance(cell, bool) else cell
    return [{name: value(cell) for name, cell in row.items()} for row in rows]


class IsReadByOthers(WithServer):
    def test_arrow_is_read_by_all_three(self):
        for kind, query in QUERIES.items():
            with self.subTest(kind=kind):
                told = plain(self.rows(kind, query))
                self.assertGreater(len(told), 0)
                stream = self.ask(kind, query, "application/vnd.apache.arrow.stream")
                table = pyarrow.ipc.open_stream(stream).read_all()
                self.assertEqual(plain(table.to_pylist()), told)
                self.assertEqual(plain(polars.read_ipc_stream(stream).to_dicts()), told)
                self.assertEqual(plain(table.to_pandas().to_dict("records")), told)
                found = duckdb.sql("SELECT * FROM \"table\"").to_arrow_table().to_pylist()
                self.assertEqual(plain(found), told)

    def test_csv_and_lines_are_read_by_all_three(self):
        for kind, query in QUERIES.items():
            if kind == "paths":
                # CSV has no lists.
                continue
            with self.subTest(kind=kind):
                told = self.rows(kind, query)
                texts = [name for name, cell in told[0].items() if isinstance(cell, str)]
                told = plain(told)
                csv = self.ask(kind, query, "text/csv").decode()
                as_text = {name: "str" for name in texts}
                read = pandas.read_csv(io.StringIO(csv), dtype=as_text, keep_default_na=False, na_values=[""])
                self.assertEqual(plain(read.to_dict("records")), told)
                read = polars.read_csv(io.StringIO(csv), schema_overrides={name: polars.String for name in texts}, infer_schema_length=None)
                self.assertEqual(plain(read.to_dicts()), told)
                lines = self.ask(kind, query, "application/x-ndjson")
                self.assertEqual(plain(polars.read_ndjson(io.BytesIO(lines), infer_schema_length=None).to_dicts()), told)
                with tempfile.NamedTemporaryFile(suffix=".ndjson") as file, tempfile.NamedTemporaryFile(suffix=".csv") as table:
                    file.write(lines)
                    file.flush()
                    table.write(csv.encode())
                    table.flush()
                    types = ", ".join(f"'{name}': 'VARCHAR'" for name in texts)
                    sources = [f"read_json('{file.name}', convert_strings_to_integers = false, auto_detect = true, dateformat = '-', timestampformat = '-')",
                               f"read_csv('{table.name}', types = {{{types}}})"]
                    for source in sources:
                        found = duckdb.sql(f"SELECT * FROM {source}").to_arrow_table().to_pylist()
                        self.assertEqual(plain(found), told)

    def test_one_address_is_a_table(self):
        query = QUERIES["funnel"]
        told = plain(self.rows("funnel", query))
        self.assertEqual(plain(pandas.read_csv(self.address("funnel", query, "csv")).to_dict("records")), told)


class IsDrawnByGrafana(WithServer):
    def test_every_panel_asks_a_query_that_tells_its_columns(self):
        dashboard = json.loads(DASHBOARD.read_text())
        self.assertGreaterEqual(len(dashboard["panels"]), 6)
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                with self.subTest(panel=panel["title"]):
                    # What Grafana puts in their place: epoch milliseconds, of a range that the demo lies in.
                    body = target["url_options"]["data"].replace("${__from}", "1785542400000").replace("${__to}", "1793491200000")
                    kind = target["url"].rsplit("/", 1)[1]
                    rows = self.rows(kind, json.loads(body))
                    self.assertGreater(len(rows), 0)
                    for column in target["columns"]:
                        self.assertIn(column["selector"], rows[0])
                        cells = [row[column["selector"]] for row in rows if row[column["selector"]] is not None]
                        expected = {"number": (int, float), "string": str, "timestamp": str}[column["type"]]
                        self.assertTrue(all(isinstance(cell, expected) for cell in cells))


class IsDescribed(unittest.TestCase):
    def test_schemathesis_finds_no_5xx(self):
        server = Server("serve")
        self.addCleanup(server.stop)
        schemathesis = pathlib.Path(sys.executable).with_name("schemathesis")
        command = [schemathesis, "run", f"{server.url}/v1/openapi.json", "--url", server.url, "--checks", "not_a_server_error",
                   "--max-examples", os.environ.get("FLYWHEEL_CASES", "5"), "--seed", os.environ.get("FLYWHEEL_SEED", "1"), "--mode", "all",
                   "--phases", "examples,fuzzing", "--workers", "2", "--suppress-health-check", "all", "--no-color"]
        if "FLYWHEEL_CASES" not in os.environ:
            # The addresses of SDKs are as many as all others, and tests/sdks sends them what SDKs send.
            command += ["--exclude-tag-regex", "^SDKs"]
        found = subprocess.run(command, capture_output=True, text=True, cwd=tempfile.gettempdir())
        print("\n".join(line for line in found.stdout.splitlines() if re.search(r"Operations:|passed|failed|generated|Test cases", line)))
        self.assertEqual(found.returncode, 0, found.stdout[-4000:] + found.stderr[-2000:])


if __name__ == "__main__":
    unittest.main(verbosity=2)
