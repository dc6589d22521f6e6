"""A server of a store, for as long as something is measured."""

import http.client
import json
import re
import subprocess


class Served:
    def __init__(self, binary, data):
        command = [binary, "serve", "--data", str(data), "--listen", "127.0.0.1:0", "--log", "warn"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        told = re.search(r"http://127\.0\.0\.1:(\d+)", self.process.stdout.readline())
        if not told:
            raise RuntimeError(f"no server of {data} came up")
        self.port = int(told.group(1))
        self.connection = self.connect()
        # Not within the first call: a client that has to find its own modules first takes longer than an answer.
        self.connection.connect()

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)

    def call(self, method, path, body=None, connection=None):
        """The bytes of the answer, over a connection of its own or the one that is kept."""
        connection = connection or self.connection
        headers = {"Content-Type": "application/json"}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status >= 300:
            raise RuntimeError(f"{path}: {response.status} {answer[:300]}")
        return answer

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
