"""Which servers may be measured from here, and what is said of those that do not answer."""

import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from core.basics.errors import InputError, ProbeError
from core.measure.address import checked, model_served


@pytest.mark.parametrize(("url", "base"), [
    ("http://localhost:8000", "http://localhost:8000"), ("http://127.0.0.1:8000/v1/", "http://127.0.0.1:8000"),
    ("http://[::1]:30000", "http://[::1]:30000"), (" https://localhost ", "https://localhost"),
])
def test_this_machine_s_servers_may_be_asked(url, base):
    assert checked(url) == base


@pytest.mark.parametrize("url", [
    "http://169.254.169.254", "http://10.0.0.7:8000", "https://api.example.com", "http://localhost.example.com",
    "ftp://localhost", "localhost:8000", "http://user:word@localhost:8000", "http://localhost:99999", "http://[::1",
    "http://localhost?x=1", "",
])
def test_others_are_refused(url):
    with pytest.raises(InputError) as refused:
        checked(url)
    assert "\n" not in str(refused.value)


def test_an_administrator_names_more(monkeypatch):
    monkeypatch.setenv("SWEETSPOT_ENDPOINTS", "https://inference.lab:8443 http://10.0.0.7:8000/")
    assert checked("http://10.0.0.7:8000/v1") == "http://10.0.0.7:8000"
    assert checked("https://inference.lab:8443") == "https://inference.lab:8443"
    with pytest.raises(InputError, match="SWEETSPOT_ENDPOINTS"):
        checked("http://inference.lab:8443")
    monkeypatch.setenv("SWEETSPOT_PUBLIC", "1")
    with pytest.raises(InputError, match="public host"):
        checked("http://localhost:8000")


@pytest.fixture
def server():
    """Lists two models to whoever has the token; every other path leads elsewhere."""
    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            known = self.headers["Authorization"] == "Bearer hush"
            self.send_response(200 if known else 401)
            self.end_headers()
            self.wfile.write(json.dumps({"data": [{"id": "one"}, {"id": "two"}]}).encode())

        def log_message(self, *words):
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


def test_the_model_is_the_one_named(server):
    assert model_served(server, "two", "hush") == "two"
    with pytest.raises(ProbeError, match="one, two"):
        model_served(server, "", "hush")
    with pytest.raises(ProbeError, match="answers 401"):
        model_served(server, "two", "")
    with pytest.raises(ProbeError, match="No server answers"):
        model_served("http://127.0.0.1:9", "two", "")
