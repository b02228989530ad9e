"""A real S3 server on loopback (moto), with a gate in front of it where requests are refused or their replies lost."""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server
from werkzeug.wrappers import Response

BUCKET = "corpus"


class Gate:
    """What happens to the next requests of a method: `503`, `429`, `409`, `403` answers so without asking the server,
    `lost` asks the server and then answers 503, `pass` lets it through."""

    def __init__(self, server: Callable[..., Any]):
        self._server = server
        self._lock = threading.Lock()
        self.script: dict[str, list[str]] = {}
        self.requests: list[tuple[str, str, str]] = []  # method, path, what happened

    def __call__(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Any:
        method = environ["REQUEST_METHOD"]
        with self._lock:
            waiting = self.script.get(method, [])
            action = waiting.pop(0) if waiting else "pass"
            self.requests.append((method, environ["PATH_INFO"], action))
        if action == "pass":
            return self._server(environ, start_response)
        if action == "lost":
            Response.from_app(self._server, environ).get_data()
        else:
            environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        status = 503 if action == "lost" else int(action)
        code = {503: "SlowDown", 429: "TooManyRequests", 409: "ConditionalRequestConflict", 403: "AccessDenied"}[status]
        answer = Response(f"<Error><Code>{code}</Code><Message>as scripted</Message></Error>", status)
        return answer(environ, start_response)


class Server:
    """environment: the variables that lead obstore to it."""

    def __init__(self) -> None:
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        self.gate = Gate(DomainDispatcherApplication(create_backend_app))
        self._server = make_server("127.0.0.1", 0, self.gate, threaded=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.environment = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
            "AWS_REGION": "us-east-1",
        }

    def client(self) -> Any:
        import boto3

        return boto3.client(
            "s3", endpoint_url=self.url, region_name="us-east-1", aws_access_key_id="t", aws_secret_access_key="t"
        )

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextmanager
def running() -> Iterator[Server]:
    """A server with one empty bucket."""
    server = Server()
    try:
        server.client().create_bucket(Bucket=BUCKET)
        yield server
    finally:
        server.stop()
