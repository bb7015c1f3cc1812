"""What a GPU tells around a probe, by the real NVML binding over a stand-in library; and what spoils a probe."""

import itertools

import pynvml
import pytest

from core.probe import telemetry
from core.probe.measurement import Point, Quantity
from core.probe.telemetry import Telemetry, drift, gpu_remarks, processor_remarks
from core.probe.timing import Stop, Timing
from tests.nvml_library import NvmlLibrary, h100


@pytest.fixture
def watched(monkeypatch):
    """Telemetry of one card, looked at three times a second apart."""
    def watch(card, uuid="GPU-1", **library):
        monkeypatch.setattr(pynvml, "nvmlLib", NvmlLibrary([card], **library))
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})
        seconds = itertools.count(100.0, 0.5)
        monkeypatch.setattr(telemetry.time, "monotonic", lambda: next(seconds))
        found = Telemetry()
        found.open(uuid)
        for _ in range(5):
            found.look()
        found.close()
        return found

    return watch


def test_a_card_is_sampled_before_during_and_after(watched):
    found = watched(h100(busy_percent=3))
    assert found.driver == "580.159.04"
    assert (len(found.before), len(found.after)) == (1, 1)
    assert 2 <= len(found.during) <= 4              # one a second of the clock, which two calls move by one
    assert found.before[0] == {
        "sm_clock_mhz": 1980, "memory_clock_mhz": 2619, "max_sm_clock_mhz": 1980, "event_reasons": 0, "power_w": 350,
        "power_limit_w": 700, "temperature_c": 55, "used_bytes": 551 * 2**20, "utilisation_percent": 3, "processes": 1,
    }
    assert gpu_remarks(found.before, found.during) == ()


def test_what_a_card_does_not_tell_is_left_out(watched):
    found = watched(h100(sm_now_mhz=None), missing=["nvmlDeviceGetCurrentClocksEventReasons"])
    assert "sm_clock_mhz" not in found.before[0] and "event_reasons" not in found.before[0]
    assert found.before[0]["temperature_c"] == 55


@pytest.mark.parametrize("how", [{"init_code": 9}, {"uuid": "GPU-other"}])
def test_without_a_driver_or_the_card_nothing_is_sampled(watched, how):
    found = watched(h100(), **how)
    assert (found.before, found.during, found.after) == ([], [], [])


@pytest.mark.parametrize(("card", "says"), [
    (h100(busy_percent=80), "busy before the probe"),
    (h100(processes=2), "Other processes held the GPU"),
    (h100(event_reasons=0x40), "held back by heat (hardware)"),
    (h100(event_reasons=0x08 | 0x20), "held back by hardware slowdown and heat (software)"),
])
def test_what_spoils_a_probe_is_said(watched, card, says):
    found = watched(card)
    assert any(says in remark for remark in gpu_remarks(found.before, found.during))


def busy_at(mhz, reasons=0):
    return {"sm_clock_mhz": mhz, "utilisation_percent": 90.0, "event_reasons": reasons}


def test_a_clock_that_moves_under_load_is_said_unless_the_power_limit_holds_it():
    """Large matmuls always run into the limit; NVML's reason 0x04 is SwPowerCap."""
    assert "between 1200 and 1980 MHz" in gpu_remarks([], [busy_at(1980), busy_at(1200)])[0]
    assert gpu_remarks([], [busy_at(1980), busy_at(1200, 0x04)]) == ()
    assert gpu_remarks([], [busy_at(1980), busy_at(1900)]) == ()


def test_a_busy_processor_is_said(monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    assert processor_remarks(2.0) == ()
    assert processor_remarks(3.0) == ("The machine was busy before the probe: load 3.0 on 4 cores.",)


def read(size, seconds):
    timing = Timing(seconds, seconds, seconds, 32, 0.001, Stop.SETTLED)
    return Point(Quantity.READ, "bytes", "torch", {"size": size}, timing, float(size), 0.0)


def test_drift_is_of_the_largest_read_from_start_to_end():
    assert drift([read(2**30, 1.00), read(2**20, 5.0), read(2**30, 1.02)]) is None
    assert "by -9% from the start" in (drift([read(2**30, 1.00), read(2**30, 1.10)]) or "")
    assert drift([read(2**30, 1.0)]) is None
