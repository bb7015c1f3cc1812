"""What a first visit fetches: bundles come compressed, once and for good."""

import gzip

from starlette.applications import Starlette
from starlette.testclient import TestClient
from streamlit import file_util
from streamlit.web.server.starlette.starlette_static_routes import create_streamlit_static_assets_routes

from core.basics.places import ROOT
from pages.server.packed import Packed

STATIC = ROOT / file_util.get_static_dir()
LARGEST = max(STATIC.glob("static/js/*.js"), key=lambda file: file.stat().st_size)
ADDRESS = f"/static/js/{LARGEST.name}"


def served() -> tuple[Packed, TestClient]:
    """Streamlit's own files behind the middleware."""
    packed = Packed(Starlette(routes=create_streamlit_static_assets_routes("")))
    return packed, TestClient(packed)


def test_a_bundle_comes_compressed_and_is_kept():
    """The largest bundle is the highlighter of code, 1.6 MB: a third of it on the wire, twice the very same bytes."""
    packed, client = served()
    with client.stream("GET", ADDRESS, headers={"accept-encoding": "gzip"}) as answer:
        raw = b"".join(answer.iter_raw())
    assert answer.headers["content-encoding"] == "gzip" and answer.headers["vary"] == "Accept-Encoding"
    assert len(raw) == int(answer.headers["content-length"]) < 0.4 * LARGEST.stat().st_size
    assert gzip.decompress(raw) == LARGEST.read_bytes() == client.get(ADDRESS).content
    assert list(packed.kept) == [ADDRESS]


def test_who_cannot_unpack_or_wants_a_part_gets_the_file_itself():
    packed, client = served()
    for headers in ({"accept-encoding": "identity"}, {"range": "bytes=0-99"}):
        answer = client.get(ADDRESS, headers=headers)
        assert "content-encoding" not in answer.headers
        assert answer.content == LARGEST.read_bytes()[:100 if "range" in headers else None]
    assert not packed.kept


def test_names_of_nothing_fill_no_memory():
    """Streamlit answers with index.html where there is no such file: any name a stranger makes up."""
    packed, client = served()
    for number in range(5):
        answer = client.get(f"/static/js/{number}.js")
        assert answer.status_code == 200 and b"<html" in answer.content
    assert not packed.kept
