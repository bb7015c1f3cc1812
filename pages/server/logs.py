"""The server's log: on a public host one JSON object a line, with nothing in it that a visitor typed or keeps secret.

A message's own words come with it and an exception's kind and place; what was put into the words, and what an
exception says, may be a visitor's and stay out.
"""

import json
import logging
import traceback
from datetime import UTC, datetime
from pathlib import Path

from core.basics.places import ROOT
from core.basics.settings import is_public

FRAMES = 8
OURS = (str(ROOT / "core"), str(ROOT / "pages"))
STATE = "streamlit/runtime/state/"             # where Streamlit reads what a browser sent of a widget


class Lines(logging.Formatter):
    """A record as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(), "logger": record.name, "event": str(record.msg),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = where(record.exc_info[1])
        return json.dumps(line)


def begin() -> None:
    """Our loggers write lines of JSON on a public host; an error that a page tells of is not told twice."""
    logging.getLogger("streamlit.error_util").addFilter(lambda _: False)
    if not is_public():
        return
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    for name in ("sweetspot", "core"):
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = [handler], False
        logger.setLevel(logging.INFO)


def where(error: BaseException) -> str:
    """The kind of an exception and the last places it came through, without what it says."""
    frames = traceback.extract_tb(error.__traceback__)[-FRAMES:]
    places = (f"{Path(frame.filename).name}:{frame.lineno} {frame.name}" for frame in reversed(frames))
    return " < ".join([type(error).__name__, *places])


def is_forged(error: BaseException) -> bool:
    """Whether Streamlit met the error in what a browser sent of a widget: no page of ours sends such a thing."""
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        if frame.filename.startswith(OURS):
            return False
        if STATE in frame.filename:
            return True
    return False
