"""Many machines: a real Ray cluster on the loopback interface, its GPUs made up, its probes of processors real."""

import json
import operator
import os
import time
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from core.__main__ import main
from core.answers.traffic import FACTORS, PRESETS, Options, Question, Slo, generate, study
from core.answers.traffic.sweep import executor, here, on_cluster
from core.basics.errors import ClusterError, InputError, ProbeError
from core.basics.places import ROOT
from core.machinery import cluster
from core.machinery.cluster import Call, Loss, News, Node, Result
from core.probe.many import Row, Target, measure, measured, probe_many, targets
from core.probe.measurement import from_json
from core.products import formats, gpus
from core.reading import catalogue
from core.terms import Deployment
from tests.conftest import PATIENCE_S
from tests.ray_cluster import GPUS, ray_cluster

ROUTER = str(ROOT / "pages" / "router.py")
LOOPBACK = {"0100007F", "0000000000000000FFFF00000100007F", "00000000000000000000000001000000"}     # as in /proc/net
QUICK_S = 2.0       # enough for a few points
LONG_S = 10.0       # enough for a node to be taken away meanwhile, however busy this machine is
SPEC = catalogue.load("Qwen/Qwen3-0.6B")


@pytest.fixture(scope="module")
def grid():
    """One cluster for the tests of this module."""
    with ray_cluster() as found:
        yield found


@pytest.fixture
def named(grid, monkeypatch):
    """The administrator named the cluster and handed out its token."""
    for name, value in grid.settings().items():
        monkeypatch.setenv(name, value)
    return grid


# -- the connection -----------------------------------------------------------------------------------


def test_the_machines_are_listed_those_with_gpus_first(named):
    found = cluster.nodes()
    assert [(node.gpu_type, node.gpus) for node in found] == [*GPUS.items(), ("", 0)]
    assert len({node.name for node in found}) == len(found)         # of one host, told apart by their ids


@pytest.mark.parametrize("changes", [
    {"RAY_AUTH_TOKEN": "0" * 64}, {"RAY_AUTH_TOKEN": ""}, {"RAY_AUTH_TOKEN": "", "RAY_AUTH_MODE": ""},
], ids=["wrong", "none", "not asked for"])
def test_without_its_token_the_cluster_refuses_in_one_sentence(named, monkeypatch, changes):
    for name, value in changes.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name)
    with pytest.raises(ClusterError, match="refuses the token: set RAY_AUTH_MODE=token") as refused:
        cluster.nodes()
    assert named.token not in str(refused.value) and "0000" not in str(refused.value)


def test_nobody_listens(monkeypatch):
    monkeypatch.setenv("SWEETSPOT_RAY", "ray://127.0.0.1:9")        # the discard port
    with pytest.raises(ClusterError, match="does not answer: check the address in SWEETSPOT_RAY"):
        cluster.nodes()


@pytest.mark.parametrize("address", ["http://host:10001", "ray://host", "ray://user:secret@host:1", "ray://a:1 --x"])
def test_an_address_of_another_kind_is_refused_and_not_repeated(monkeypatch, address):
    monkeypatch.setenv("SWEETSPOT_RAY", address)
    with pytest.raises(ClusterError, match="must look like ray://host:10001") as refused:
        cluster.nodes()
    assert "secret" not in str(refused.value)


def test_without_ray_one_sentence_says_what_to_install(monkeypatch, capsys):
    monkeypatch.setattr("core.machinery.cluster.session.find_spec", lambda name: None)
    assert main(["probe", "--offline", "--cluster"]) == 2
    assert capsys.readouterr().err == "Ray is not installed here: run pip install -r requirements-cluster.txt.\n"


def listening(variable):
    """Where the processes with this environment variable listen: addresses as the kernel writes them."""
    inodes = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{variable}=".encode() in (process / "environ").read_bytes():
                inodes |= {str(handle.readlink())[8:-1] for handle in (process / "fd").iterdir()}     # socket:[inode]
        except OSError:
            continue
    lines = [line.split() for table in ("tcp", "tcp6") for line in Path(f"/proc/net/{table}").read_text().splitlines()]
    return {words[1].split(":")[0] for words in lines if words[3] == "0A" and words[9] in inodes}


def test_the_embedded_cluster_is_this_machine_and_listens_to_nobody_else(monkeypatch):
    monkeypatch.delenv("SWEETSPOT_RAY", raising=False)
    addresses = set()
    found = cluster.nodes(lambda: addresses.update(listening("RAY_TMPDIR")))
    assert len(found) == 1 and found[0].cpus == os.cpu_count()
    assert addresses and addresses <= LOOPBACK


# -- calls --------------------------------------------------------------------------------------------


def test_calls_report_end_fail_and_run_out_of_time_each_for_itself(named):
    calls = [
        Call(operator.call, (0.5, "half", "a part")),               # calls `tell` with what follows
        Call(operator.call, ()),
        Call(measure, (SPEC, 60.0, 0), seconds=1.0),
        Call(operator.call, (1.0, "done"), node="a node of yesterday"),
    ]
    words = list(cluster.run(calls, lambda: None, wait_s=60.0))
    assert News(0, 0.5, "half", "a part") in words and Result(0, None) in words
    reasons = {word.call: word.reason for word in words if isinstance(word, Loss)}
    assert set(reasons) == {1, 2, 3}
    assert reasons[3].startswith("This host is no longer in the cluster")
    assert reasons[1].startswith("It failed on ") and "with TypeError" in reasons[1]
    assert reasons[2].startswith("It did not end within 1 s on ") and reasons[2].endswith(" and was stopped.")


# -- probes -------------------------------------------------------------------------------------------


NODES = (
    Node("aa11", "one", "one", 8, 2, "H100"), Node("bb22", "two", "two bb22", 8, 1, "L4"),
    Node("cc33", "two", "two cc33", 8, 1, "H100"), Node("dd44", "three", "three", 8, 0, ""),
)


@pytest.mark.parametrize(("hosts", "types", "nodes"), [
    ((), (), ["aa11", "bb22", "cc33"]), (("two",), (), ["bb22", "cc33"]), (("cc",), (), ["cc33"]),
    ((), ("H100",), ["aa11", "cc33"]), (("two",), ("H100",), ["cc33"]), (("three",), (), ["dd44"]),
    ((), ("H100", "B200"), ["aa11", "cc33", ""]),
])
def test_hosts_and_types_choose(hosts, types, nodes):
    assert [target.node for target in targets(NODES, hosts, types)] == nodes


@pytest.mark.parametrize(("hosts", "types", "says"), [
    (("four",), (), "no host 'four': it has one, two bb22, two cc33, three"),
    (("one",), ("L4",), "None of these hosts has such a GPU: the cluster has H100 on one, L4 on two bb22, "),
])
def test_what_is_not_there_cannot_be_chosen(hosts, types, says):
    with pytest.raises(InputError, match=says):
        targets(NODES, hosts, types)


def test_side_by_side_a_node_that_dies_and_a_gpu_that_is_not_there_lose_their_rows_alone(
    named, monkeypatch, capsys, tmp_path
):
    def killing(spec, chosen, seconds, report):
        def watch(share, rows):
            if killed and rows[0].points:
                named.take_away(killed.pop())
            report(share, rows)

        killed = ["H100"]
        return probe_many(spec, chosen, seconds, watch)

    monkeypatch.setattr("core.probe.many_command.probe_many", killing)
    monkeypatch.setattr("core.probe.many.WAIT_S", 4.0)
    file = tmp_path / "probe.json"
    assert main([
        "probe", "--offline", "--model", SPEC.name, "--cluster", "--gpu-type", "H100", "H200", "B200",
        "--seconds", str(LONG_S), "--json", "--out", str(file),
    ]) == 0
    rows = {row["gpu_type"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    found = from_json(json.dumps(rows["H200"]["measurement"]))
    assert found.is_cpu and found.points and rows["H200"]["lost"] == ""
    assert any("no NVIDIA driver shows" in remark for remark in found.conditions.remarks)
    assert f"Measured on {rows['H200']['host']} of a cluster." in found.conditions.remarks
    assert rows["H100"]["measurement"] is None and "went away before it ended" in rows["H100"]["lost"]
    assert rows["B200"]["lost"].startswith("Not started in 4 s, for a GPU of type B200 is not free.")
    assert " of 2 H200 on " in rows["B200"]["lost"].partition("Free now: ")[2]
    assert from_json((tmp_path / "probe-1.json").read_text()) == found
    assert not (tmp_path / "probe-2.json").exists()


def test_nothing_measured_is_an_error_with_every_reason():
    rows = (Row(Target("one", "H100"), lost="It went away."), Row(Target("", "B200"), lost="Not started."))
    with pytest.raises(ProbeError, match=r"No GPU could be measured\. one, H100: It went away\. any host, B200: Not"):
        measured(rows)


@pytest.mark.parametrize(("arguments", "says"), [
    (["--host", "one"], "add --cluster"), (["--cluster", "--device", "cpu"], "use --host and --gpu-type"),
])
def test_the_command_refuses_in_one_sentence(capsys, arguments, says):
    assert main(["probe", "--offline", *arguments]) == 2
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1


# -- sweeps -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def question():
    deployment = Deployment(gpus.find("H100 SXM5 80GB"), formats.find("fp8"), formats.find_kv("bf16"))
    spec = catalogue.load("meta-llama/Llama-3.1-8B")
    return Question(spec, deployment, Options(), generate(60, 20, PRESETS[0]), Slo(1.0, 0.05), windows=2)


def test_a_sweep_is_the_same_on_the_cluster(named, question, monkeypatch):
    done = []
    assert executor() is on_cluster
    there = [*study(question, lambda share, note: done.append(share))]
    assert done == sorted(done) and len(set(done)) > len(FACTORS)
    monkeypatch.delenv("SWEETSPOT_RAY")
    assert executor() is here
    assert repr(there) == repr([*study(question, lambda share, note: None)])    # repr: NaN is no equal of itself


def test_a_sweep_goes_on_here_when_the_cluster_cannot_be_had(question, monkeypatch):
    monkeypatch.setenv("SWEETSPOT_RAY", "ray://127.0.0.1:9")
    there = [*study(question, lambda share, note: None)]
    monkeypatch.delenv("SWEETSPOT_RAY")
    assert repr(there) == repr([*study(question, lambda share, note: None)])


# -- the page -----------------------------------------------------------------------------------------


@pytest.fixture
def app(monkeypatch, tmp_path):
    monkeypatch.setenv("SWEETSPOT_HUB_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("SWEETSPOT_DATA", str(tmp_path))
    monkeypatch.setenv("SWEETSPOT_PROBE", "1")
    st.cache_resource.clear()
    monkeypatch.setattr("core.probe.devices.MIN_S", QUICK_S)
    app = AppTest.from_file(ROUTER, default_timeout=PATIENCE_S)
    app.query_params["model"], app.query_params["seconds"] = SPEC.name, str(int(QUICK_S))
    app.run()
    app.switch_page("probe/probe.py").run()
    yield app.segmented_control(key="way").set_value("Kernels").run()
    st.cache_resource.clear()


def wait_for(app, condition, limit_s=60.0):
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.3)
        app.run()


def says(app, words):
    return any(words in caption.value for caption in app.caption)


def test_the_page_measures_cancels_and_keeps(named, app):
    app.button(key="cluster_look").click().run()
    assert not app.exception and not app.error
    app.multiselect(key="cluster_types").select("H200").run()
    app.button(key="cluster_measure").click().run()
    wait_for(app, lambda: app.dataframe and "point" in app.dataframe[0].value["now"][0])
    next(button for button in app.button if button.label == "Cancel").click().run()
    wait_for(app, lambda: says(app, "Cancelled; nothing was kept."))
    app.button(key="cluster_measure").click().run()
    wait_for(app, lambda: says(app, "1 kept below."))
    assert app.dataframe[0].value["measured"][0].startswith("CPU")
    assert len([button for button in app.button if button.key.startswith("delete")]) == 1


def test_the_page_says_why_there_is_no_cluster_and_keeps_the_rest(app, monkeypatch):
    monkeypatch.setenv("SWEETSPOT_RAY", "ray://127.0.0.1:9")
    app.button(key="cluster_look").click().run()
    assert not app.exception
    assert "does not answer" in app.error[0].value
    assert [button for button in app.button if button.key == "measure"]


def test_without_ray_the_page_offers_this_machine_alone(app, monkeypatch):
    monkeypatch.setattr("core.machinery.cluster.session.find_spec", lambda name: None)
    app.run()
    assert not app.exception
    assert not any(expander.label == "Many GPUs" for expander in app.expander)
