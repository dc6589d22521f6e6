"""Exports a store as Parquet, NDJSON and CSV and has DuckDB, polars and pyarrow read it; writes Parquet with each of them and
imports that: python files.py FLYWHEEL. Prints a line for each and a closing line "N passed, N failed".
"""

import datetime
import decimal
import json
import pathlib
import subprocess
import sys
import tempfile

import duckdb
import polars
import pyarrow
import pyarrow.parquet

START = datetime.datetime(2026, 3, 1, tzinfo=datetime.timezone.utc)
COUNT = 3_000


def events():
    """A small shop: what is bought, by whom, and for how much."""
    for number in range(COUNT):
        time = START + datetime.timedelta(seconds=97 * number)
        yield {
            "event": ["visit", "purchase", "refund"][number % 3],
            "user": f"u{number % 41}",
            "time": time.isoformat().replace("+00:00", "Z"),
            "id": f"e{number}",
            "account": f"a{number % 5}",
            "properties": {"amount": round(number * 0.01, 2), "plan": ["free", "pro"][number % 2], "tags": ["x", number]},
        }


def total():
    return sum(decimal.Decimal(number) / 100 for number in range(COUNT) if number % 3 == 1)


class Flywheel:
    """A store in a directory, by the program."""

    def __init__(self, program, directory):
        self.program, self.directory = program, directory

    def run(self, *words, text=None):
        command = [self.program, "--data", self.directory, *map(str, words)]
        done = subprocess.run(command, capture_output=True, text=True, input=text, timeout=600)
        assert done.returncode == 0, f"{command}: {done.stderr}"
        return done.stdout

    def counted(self):
        """Events, users and the sum of purchases."""
        series = [{"event": "*"}, {"event": "*", "measure": "users"}, {"event": "purchase", "measure": {"sum": "amount"}}]
        query = {"kind": "segmentation", "interval": "total", "series": series}
        answer = json.loads(self.run("query", "-", "--format", "json", text=json.dumps(query)), parse_float=decimal.Decimal)
        return [row["value"] for row in answer["data"]]


def check_read(name, rows, users, amount):
    assert (rows, users, decimal.Decimal(str(amount))) == (COUNT, 41, total()), f"{name} read {rows}, {users}, {amount}"


def read_with_duckdb(directory):
    readers = {"parquet": "read_parquet", "ndjson": "read_json_auto", "csv": "read_csv_auto"}
    for end, reader in readers.items():
        source = f"{reader}('{directory}/events.{end}')"
        amount = "CAST(json_extract_string(properties::JSON, '$.amount') AS DECIMAL(18,2))"
        query = f"SELECT count(*), count(DISTINCT \"user\"), sum({amount}) FILTER (event = 'purchase') FROM {source}"
        check_read(f"DuckDB {end}", *duckdb.sql(query).fetchall()[0])
        kind = duckdb.sql(f'SELECT typeof("time") FROM {source} LIMIT 1').fetchall()[0][0]
        assert kind.startswith("TIMESTAMP"), f"the time in {end} is a {kind}"


def read_with_polars(directory):
    def amount(frame):
        bought = frame.filter(polars.col("event") == "purchase")
        values = bought["properties"].str.json_path_match("$.amount")
        return sum(map(decimal.Decimal, values.to_list()))

    for frame in (polars.read_parquet(f"{directory}/events.parquet"), polars.read_csv(f"{directory}/events.csv")):
        check_read("polars", len(frame), frame["user"].n_unique(), amount(frame))
    assert polars.read_parquet(f"{directory}/events.parquet")["time"].dtype == polars.Datetime("us", "UTC")
    lines = polars.read_ndjson(f"{directory}/events.ndjson", infer_schema_length=None)
    assert (len(lines), lines["user"].n_unique()) == (COUNT, 41)


def read_with_pyarrow(directory):
    table = pyarrow.parquet.read_table(f"{directory}/events.parquet").to_pylist()
    amount = sum(decimal.Decimal(str(json.loads(row["properties"])["amount"])) for row in table if row["event"] == "purchase")
    check_read("pyarrow", len(table), len({row["user"] for row in table}), amount)
    assert table[0]["time"].tzinfo is not None


def columns():
    """The events as columns of their own, as a warehouse would have them."""
    rows = list(events())
    return {
        "name": [row["event"] for row in rows],
        "customer": [row["user"] for row in rows],
        "at": [datetime.datetime.fromisoformat(row["time"].replace("Z", "+00:00")) for row in rows],
        "amount": [row["properties"]["amount"] for row in rows],
        "plan": [row["properties"]["plan"] for row in rows],
        "tags": [list(map(str, row["properties"]["tags"])) for row in rows],
    }


def write_with_pyarrow(path):
    pyarrow.parquet.write_table(pyarrow.table(columns()), path, compression="snappy", row_group_size=700)


def write_with_polars(path):
    polars.DataFrame(columns()).write_parquet(path, compression="zstd")


def write_with_duckdb(path):
    shop = pyarrow.table(columns())
    duckdb.sql(f"COPY (SELECT * FROM shop) TO '{path}' (FORMAT parquet, COMPRESSION gzip)")


def main(program):
    counts = {"passed": 0, "failed": 0}

    def step(name, work):
        try:
            work()
            counts["passed"] += 1
            print(f"{name:32} ok")
        except Exception as error:  # Each is told, and the others go on.
            counts["failed"] += 1
            print(f"{name:32} FAILED\n    {error}")

    with tempfile.TemporaryDirectory() as directory:
        home = pathlib.Path(directory)
        source = home / "events.ndjson"
        source.write_text("".join(json.dumps(event) + "\n" for event in events()))
        store = Flywheel(program, home / "store")
        store.run("import", source)
        expected = [COUNT, 41, total()]

        def same(store):
            assert store.counted() == expected, f"expected {expected}, found {store.counted()}"

        for form in ("parquet", "ndjson", "csv"):
            store.run("export", home / "out", "--format", form)
        for reader in (read_with_duckdb, read_with_polars, read_with_pyarrow):
            step(reader.__name__.replace("_", " "), lambda: reader(home / "out"))
        for form in ("parquet", "ndjson", "csv"):
            again = Flywheel(program, home / f"again-{form}")
            step(f"our own {form} read back", lambda: (again.run("import", home / "out" / f"events.{form}"), same(again)))
        for writer in (write_with_pyarrow, write_with_polars, write_with_duckdb):
            path, again = home / f"{writer.__name__}.parquet", Flywheel(program, home / writer.__name__)
            mapping = ("--map", "event=name,user=customer,time=at")
            step(writer.__name__.replace("_", " "), lambda: (writer(path), again.run("import", path, *mapping), same(again)))
    print(", ".join(f"{count} {word}" for word, count in counts.items()))
    sys.exit(counts["failed"] > 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
