"""What the code never does: run what data says, start a shell, load a repository's code, write raw cells or HTML."""

import ast
import re

from core.basics.places import ROOT
from tests.house.source import calls, files, name_of

# What runs or loads code that data names. A shell is only ever written for people to read, never started.
FORBIDDEN_CALLS = re.compile(
    r"^(eval|exec|compile|__import__|os\.(system|popen)|subprocess\.(getoutput|getstatusoutput)"
    r"|(\w+\.)?(pickle|marshal|shelve|dill|cloudpickle|joblib)\.\w+|torch\.(load|hub\.\w+)|\w+\.read_pickle"
    r"|yaml\.(load|load_all|full_load|unsafe_load)|runpy\.\w+|jinja2\.Template)$"
)
BETWEEN_OWN_PROCESSES = "core/machinery/cluster/calls.py"     # arguments for our own workers; Ray itself sends them so
PROCESS_CALLS = re.compile(r"^(subprocess\.\w+|Popen|os\.(exec|spawn|posix_spawn)\w*)$")
STARTS_A_PROCESS = {                  # lists of words, no shell
    f"core/machinery/{name}.py" for name in ("app", "worker", "program", "guard")
}


def dotted(node):
    return ast.unparse(node) if isinstance(node, ast.Attribute | ast.Name) else ""


def given(call, name):
    """The source of a keyword's value; None where it is not given."""
    return next((ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == name), None)


def test_nothing_runs_what_data_says():
    wrong = [
        f"{name_of(path)}:{call.lineno} {ast.unparse(call)[:80]}"
        for path in files("core", "pages")
        for call in calls(path)
        if name_of(path) != BETWEEN_OWN_PROCESSES
        and (
            FORBIDDEN_CALLS.match(dotted(call.func))
            or given(call, "shell") not in (None, "False")
            or given(call, "trust_remote_code") not in (None, "False")
            or given(call, "allow_pickle") not in (None, "False")
            or given(call, "unsafe_allow_html") not in (None, "False")
            or given(call, "unsafe_allow_javascript") not in (None, "False")
            or given(call, "autoescape") not in (None, "True")
            or given(call, "persist") is not None          # st.cache_data would keep pickles on disk
        )
    ]
    assert not wrong, "\n".join(wrong)


def test_processes_are_started_in_one_room_and_never_by_a_shell():
    started = {
        name_of(path)
        for path in files("core", "pages")
        for call in calls(path)
        if PROCESS_CALLS.match(dotted(call.func))
    }
    assert started == STARTS_A_PROCESS


def test_models_are_loaded_without_the_code_of_their_repository():
    loaded = [
        call for path in files("core") for call in calls(path) if dotted(call.func).endswith(".from_pretrained")
    ]
    assert loaded and all(given(call, "trust_remote_code") == "False" for call in loaded)


def test_raw_html_is_written_in_one_place():
    """`parts.legend`, whose text is ours; everything else goes through Streamlit's own escaping."""
    raw = [
        f"{name_of(path)}:{call.lineno}"
        for path in files("pages")
        for call in calls(path)
        if dotted(call.func) in {"st.html", "components.html", "st.iframe", "st.components.v1.html"}
    ]
    assert len(raw) == 1 and raw[0].startswith("pages/shared/parts.py")


# Written from rows of the project's own tables or from what was asked in the same file, for a program to read.
READ_BY_PROGRAMS = {"core/calibration/track_record.py", "core/delivery/estimate/__init__.py", "core/basics/tables.py"}


def test_every_table_is_written_with_safe_cells():
    writers = {
        name_of(path) for path in files("core", "pages")
        for call in calls(path)
        if dotted(call.func) in {"csv.writer", "csv.DictWriter"} or ast.unparse(call.func).endswith(".to_csv")
    }
    unsafe = [name for name in writers - READ_BY_PROGRAMS if "safe(" not in (ROOT / name).read_text(encoding="utf-8")]
    assert writers and not unsafe, unsafe
