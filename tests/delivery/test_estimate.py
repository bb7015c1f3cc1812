"""The `estimate` contract: columns, defaults, order, errors per row, hostile files."""

import csv
import io
import random
import re

import pytest

from core.basics.errors import InputError, ModelNotFound, SweetspotError
from core.basics.units import GIB
from core.delivery.estimate import OUTPUT, answer_file, checked, parse, row
from core.delivery.estimate.rows import LONGEST_LINE
from core.physics import memory
from core.products import gpus
from core.products.formats import FORMATS, KV_FORMATS
from core.reading import catalogue
from core.terms import Deployment

COLUMNS = ("case,error,fits,weights_gib_per_gpu,kv_bytes_per_token_per_gpu,kv_cache_tokens,max_concurrency,"
           "activations_gib,overhead_gib,ttft_ms,ttft_low_ms,ttft_high_ms,tpot_ms,tpot_low_ms,tpot_high_ms,"
           "output_tokens_per_s_per_gpu,prefill_bound,decode_bound,total_params,active_params,"
           "state_bytes_per_sequence,refused_by,kernel,"
           "watts_per_gpu,kwh_per_million_output_tokens,kwh_low_per_million_output_tokens,"
           "kwh_high_per_million_output_tokens,output_tokens_per_joule")
LLAMA = "meta-llama/Llama-3.1-8B"


def resolve(name):
    spec = catalogue.load(name)
    if spec is None:
        raise ModelNotFound(f"No model '{name}'.")
    return spec


@pytest.fixture
def answers(tmp_path):
    def run(text):
        cases, out = tmp_path / "cases.csv", tmp_path / "out.csv"
        cases.write_text(text, encoding="utf-8")
        counted = answer_file(cases, out, resolve)
        with out.open(encoding="utf-8", newline="") as file:
            assert file.readline().strip() == COLUMNS
            file.seek(0)
            rows = list(csv.DictReader(file))
        assert counted == (len(rows), sum(1 for line in rows if line["error"]))
        return rows
    return run


def test_the_columns_are_those_of_the_contract():
    assert ",".join(OUTPUT) == COLUMNS


def test_one_row_in_full(answers):
    """Llama-3.1-8B: 8,030,261,248 parameters; 128 KiB of 16-bit cache a token."""
    (line,) = answers(f"case,model,gpu,concurrency,input_tokens,output_tokens\na,{LLAMA},H100,8,1024,256\n")
    assert line["case"] == "a" and line["error"] == "" and line["fits"] == "True"
    assert line["total_params"] == line["active_params"] == "8030261248"
    assert float(line["kv_bytes_per_token_per_gpu"]) == pytest.approx(131072, rel=1e-3)
    assert float(line["weights_gib_per_gpu"]) == pytest.approx(14.97, rel=0.01)
    assert float(line["ttft_low_ms"]) < float(line["ttft_ms"]) < float(line["ttft_high_ms"])
    assert float(line["tpot_low_ms"]) < float(line["tpot_ms"]) < float(line["tpot_high_ms"])
    # 8 requests, each 256 tokens in TTFT + 255 TPOT
    latency = float(line["ttft_ms"]) + 255 * float(line["tpot_ms"])
    assert float(line["output_tokens_per_s_per_gpu"]) == pytest.approx(8 * 256 / latency * 1000, rel=0.02)
    assert line["decode_bound"] == "memory bandwidth" and line["state_bytes_per_sequence"] in ("0", "0.0")


def test_rows_keep_their_order_and_errors_stand_in_theirs(answers):
    lines = answers(
        "case,model,gpu,tp,weights,concurrency,input_tokens,output_tokens,note\n"
        f"1,{LLAMA},H100,1,fp8,4,100,10,unknown columns pass by\n"
        "2,no/such-model,H100,1,fp8,4,100,10,\n"
        f"3,{LLAMA},no such gpu,1,fp8,4,100,10,\n"
        f"4,{LLAMA},H100,0,fp8,4,100,10,\n"
        f"5,{LLAMA},H100,1,fp99,4,100,10,\n"
        f"6,{LLAMA},H100,1,fp8,nan,100,10,\n"
        "7,,H100,1,fp8,4,100,10,\n"
        f"8,{LLAMA},H100,2.5,fp8,4,100,10,\n"
        f"9,{LLAMA},L40S,2,,4,100,10,\n"
    )
    assert [line["case"] for line in lines] == [str(n) for n in range(1, 10)]
    errors = {line["case"]: line["error"] for line in lines}
    assert errors["1"] == errors["9"] == ""
    for case, said in (("2", "no/such-model"), ("3", "no such gpu"), ("4", "tp is '0'"), ("5", "fp99"),
                       ("6", "concurrency is 'nan'"), ("7", "No model is named"), ("8", "tp is '2.5'")):
        assert said in errors[case]
        assert all(value == "" for name, value in lines[int(case) - 1].items() if name not in ("case", "error"))


def test_defaults(answers):
    """Empty cells: one GPU, 16-bit weights of a 16-bit repository, serving."""
    short, full = answers(
        "case,model,gpu,tp,pp,ep,dp,weights,kv_cache,engine,mode,concurrency,input_tokens,output_tokens\n"
        f"a,{LLAMA},H100,,,,,,,,,8,512,128\n"
        f"b,{LLAMA},H100 SXM5 80GB,1,1,1,1,bf16,bf16,generic,serving,8,512,128\n"
    )
    assert {k: v for k, v in short.items() if k != "case"} == {k: v for k, v in full.items() if k != "case"}


def test_without_a_gpu_what_needs_none_is_answered(answers):
    bare, sized = answers(
        f"case,model,gpu,gpu_total_gib,input_tokens,output_tokens\na,{LLAMA},,,512,128\nb,{LLAMA},,23.5,,\n"
    )
    assert float(bare["weights_gib_per_gpu"]) > 14 and bare["total_params"]
    assert bare["kv_cache_tokens"] == bare["fits"] == bare["tpot_ms"] == ""
    assert sized["weights_gib_per_gpu"] == bare["weights_gib_per_gpu"] and sized["kv_cache_tokens"] == ""


def test_the_memory_of_the_very_card_wins(answers):
    small, large = answers(f"case,model,gpu,gpu_total_gib\na,{LLAMA},H100,72\nb,{LLAMA},H100,79.2\n")
    more = float(large["kv_cache_tokens"]) - float(small["kv_cache_tokens"])
    assert more * 131072 / GIB == pytest.approx(0.9 * 7.2, rel=0.01)


def test_maximum_load_is_what_the_cache_holds(answers):
    """An empty concurrency: throughput no lower than any stated one that fits."""
    lines = answers("case,model,gpu,concurrency,input_tokens,output_tokens\n"
                    + "".join(f"{n},{LLAMA},H100,{n or ''},512,128\n" for n in (0, 1, 16, 128)))
    rates = [float(line["output_tokens_per_s_per_gpu"]) for line in lines]
    assert rates[0] >= 0.99 * max(rates[1:])


def test_above_the_cache_requests_queue(answers):
    few, many = answers("case,model,gpu,concurrency,input_tokens,output_tokens\n"
                        f"a,{LLAMA},L4,4,4000,400\nb,{LLAMA},L4,400,4000,400\n")
    assert float(many["ttft_ms"]) > 10 * float(few["ttft_ms"]) and many["decode_bound"] == "capacity"


def test_what_does_not_fit_still_says_its_weights_and_a_speed(answers):
    (line,) = answers("case,model,gpu,concurrency,input_tokens,output_tokens\n"
                      "a,meta-llama/Llama-3.1-70B,H100,1,128,128\n")
    assert line["fits"] == "False" and float(line["weights_gib_per_gpu"]) > 130 and float(line["tpot_ms"]) > 0
    assert line["kv_cache_tokens"] == "0"


def test_a_prompt_only_case_has_no_tpot(answers):
    (line,) = answers(f"case,model,gpu,mode,concurrency,input_tokens,output_tokens\na,{LLAMA},H100,static,1,512,1\n")
    assert float(line["ttft_ms"]) > 0 and line["tpot_ms"] == ""


@pytest.mark.parametrize("content, said", [
    (b"", "no column 'model'"),
    (b"case,gpu\n1,H100\n", "no column 'model'"),
    (b"\x89PNG\r\n\x1a\n\xff\xfe", "not a text file"),
    (b"model,gpu\na\x00b,c\n", "not a text file"),
    (b"model,model\na,b\n", "twice"),
    (b"model\n" + b'"' + b"x" * 200_000 + b'"\n', "no CSV table"),
    (b"model,gpu\n" + b"x" * (LONGEST_LINE + 1), "a line of more than 1,048,576 letters"),
    (b"model," + b",".join(b"c%d" % n for n in range(50_000)), "50,001 columns: a table of cases has at most 1,000"),
    ("model,gpu\n".encode("utf-16-le"), "not a text file"),
    (b"model,gpu\nmeta-llama/Llama-3.1-8B,H100\n" * 2 + b"\xff", "not a text file"),
])
def test_hostile_files_end_in_one_sentence(tmp_path, content, said):
    (tmp_path / "cases.csv").write_bytes(content)
    with pytest.raises(InputError, match=said):
        answer_file(tmp_path / "cases.csv", tmp_path / "out.csv", resolve)
    assert not (tmp_path / "out.csv").exists()


def test_rubbish_cells_never_raise_anything_else():
    random.seed(5)
    letters = "0123456789.eE+-naif,\"' =\u00e9\u4e2d"
    for _ in range(500):
        cells = {name: "".join(random.choices(letters, k=random.randint(0, 8)))
                 for name in ("tp", "dp", "concurrency", "input_tokens", "mode", "gpu_memory_utilization")}
        assert isinstance(checked({"model": "m", **cells}), str) or row({"model": "m", **cells})


def test_short_lines_are_read():
    assert list(parse(io.StringIO("case,model,gpu\n1,m\n\n"), "x").rows) == [{"case": "1", "model": "m"}]


@pytest.mark.parametrize("written", [
    f"case,model,gpu\na,{LLAMA},L4\n".encode("utf-8-sig"), f"case,model,gpu\na,{LLAMA},L4\n".encode("utf-16"),
    f"case;model;gpu\r\na;{LLAMA};L4\r\n".encode(), f"sep=;\ncase;model;gpu\na;{LLAMA};L4\n".encode(),
    f"Case\tMODEL\tGpu\na\t{LLAMA}\tL4\n".encode(), f"case,model,gpu\ra,{LLAMA},L4\r".encode(),
    f"sep=|\ncase|model|gpu\na|{LLAMA}|L4\n".encode(),
], ids=["utf-8 mark", "utf-16", "semicolons", "sep=", "tabs and capitals", "carriage returns", "bars"])
def test_tables_are_read_as_spreadsheets_write_them(tmp_path, written):
    (tmp_path / "cases.csv").write_bytes(written)
    assert answer_file(tmp_path / "cases.csv", tmp_path / "out.csv", resolve) == (1, 0)


def test_a_file_in_parts_is_answered_as_in_one(answers, monkeypatch):
    text = "case,model,gpu,input_tokens,concurrency\n" + "".join(
        f"c{n},{LLAMA if n % 3 else 'nobody/nothing'},H100,{100 + n},{n + 1}\n" for n in range(40))
    whole = answers(text)
    monkeypatch.setattr("core.delivery.estimate.ROWS_AT_ONCE", 7)
    assert answers(text) == whole and [line["case"] for line in whole] == [f"c{n}" for n in range(40)]


def test_an_odd_row_takes_no_other_along(answers, monkeypatch):
    whole = memory.footprint

    def breaks(spec, deployment):
        if deployment.tp == 4:
            raise ZeroDivisionError
        return whole(spec, deployment)

    monkeypatch.setattr("core.delivery.estimate.answer.memory.footprint", breaks)
    lines = answers("model,gpu,tp\n" + "".join(f"{LLAMA},H100,{tp}\n" for tp in (1, 2, 4, 8)))
    assert [line["error"] for line in lines] == ["", "", "Internal error: please report this row.", ""]
    assert all(float(line["weights_gib_per_gpu"]) > 1 for line in lines if not line["error"])


def test_no_cell_is_a_formula(answers):
    (line,) = answers(f"case,model,gpu\n=cmd|' /C calc'!A0,{LLAMA},H100\n")
    assert line["case"] == "'=cmd|' /C calc'!A0"


def test_the_memory_figures_are_those_of_the_footprint(answers):
    (line,) = answers(f"case,model,gpu,tp,weights,kv_cache,engine\na,{LLAMA},H100,2,fp8,fp8,vllm\n")
    gpu = gpus.find("H100")
    whole = memory.footprint(resolve(LLAMA), Deployment(gpu, FORMATS["fp8"], KV_FORMATS["fp8"], tp=2, engine="vllm"))
    assert float(line["kv_cache_tokens"]) == pytest.approx(whole.kv_tokens, rel=1e-5)
    assert float(line["weights_gib_per_gpu"]) == pytest.approx(whole.term("weights").bytes / GIB, rel=1e-5)


def test_every_error_is_ours():
    assert issubclass(ModelNotFound, SweetspotError)


def test_a_measurement_pulls_its_neighbours_and_narrows_their_range(tmp_path):
    """Measured 30 % slower at 8 requests: the same case follows it, a far one less, another model not at all."""
    head = "case,model,gpu,engine,weights,concurrency,input_tokens,output_tokens"
    cases, known, out = tmp_path / "cases.csv", tmp_path / "known.csv", tmp_path / "out.csv"
    cases.write_text(f"{head}\na,{LLAMA},H100,vllm,fp8,8,1024,256\nb,{LLAMA},H100,vllm,fp8,256,8192,2048\n"
                     "c,Qwen/Qwen3-32B,H100,vllm,fp8,8,1024,256\n")

    def tpot(measurements=None):
        answer_file(cases, out, resolve, measurements=measurements)
        with out.open(encoding="utf-8", newline="") as file:
            names = ("tpot_ms", "tpot_low_ms", "tpot_high_ms")
            return [{name: float(line[name]) for name in names} for line in csv.DictReader(file)]

    plain = tpot()
    known.write_text(f"{head},measured_tpot_ms\nm,{LLAMA},H100,vllm,fp8,8,1024,256,{1.3 * plain[0]['tpot_ms']}\n")
    near, far, other = (after["tpot_ms"] / before["tpot_ms"] for after, before in zip(tpot(known), plain, strict=True))
    assert 1.2 < near <= 1.3 and 1.0 < far < near and other == 1.0
    width = [line[0]["tpot_high_ms"] / line[0]["tpot_low_ms"] for line in (tpot(known), plain)]
    assert width[0] < width[1]


@pytest.mark.parametrize(("cells", "by", "says"), [
    ({"tp": "3"}, "structure", "32 attention heads do not divide by 3."),
    ({"model": "Qwen/Qwen3-30B-A3B-FP8", "tp": "4"}, "structure", "expert parallelism or tp 2 works"),
    ({"engine": "llamacpp", "weights": "gguf-Q4_K_M", "max_num_seqs": "300"}, "structure", "at most 256 sequences"),
    ({"model": "xai-org/grok-1", "gpu": "8x H100", "tp": "8"}, "structure", "does not run models of the family grok"),
    ({"weights": "w8a8-int8", "gpu": "GeForce RTX 5090"}, "kernels", "no INT8 W8A8 kernels for Blackwell"),
    ({"model": "meta-llama/Llama-3.1-70B"}, "memory", "over the memory by"),
    ({"gpu": "L4", "max_model_len": "131072"}, "memory", "no room for one request of 131,072 tokens"),
    ({"gpu": "DGX Spark GB10", "gpu_memory_utilization": "0.9"}, "memory", "it refuses to take 90%"),
    ({"model": "Qwen/Qwen3.8-27B", "gpu": "RTX PRO 6000 Blackwell Max-Q Workstation Edition", "weights": "bf16",
      "gpu_memory_utilization": "0.95", "max_num_seqs": "1024"}, "memory", "the state of every sequence takes one"),
    ({"model": "google/gemma-3-4b-it", "gpu": "T4", "weights": "awq-int4"}, "kernels", "no BF16: FP32 is left"),
    ({"max_model_len": "200000"}, "context", "the model ends at 131,072 tokens"),
    ({"input_tokens": "20000000"}, "context", "the model ends at 131,072"),
    ({"engine": "wllm"}, "", "'wllm' is no engine known here: use one of vllm, "),
    ({"weights": "fp9"}, "", "fp9"),
])
def test_what_the_engine_refuses_is_refused_with_its_reason(answers, cells, by, says):
    cells = {"model": LLAMA, "gpu": "H100", "engine": "vllm", "concurrency": "8", "input_tokens": "1024",
             "output_tokens": "128"} | cells
    (line,) = answers(f"{','.join(cells)}\n{','.join(cells.values())}\n")
    assert line["refused_by"] == by and says in line["error"]
    has_none = by in ("", "structure") and not re.search("expert parallelism|family", says)
    assert line["fits"] in ("", "False") and (line["tpot_ms"] == "") == has_none


@pytest.mark.parametrize(("gpu", "engine", "version"), [("T4", "vllm", ""), ("V100 SXM2 32GB", "vllm", "0.6.5"),
                                                        ("H100", "mlc", "")])
def test_sixteen_bits_are_those_the_card_and_the_engine_have(answers, gpu, engine, version):
    """vLLM casts to FP16 where a card has no BF16; MLC LLM has FP16 alone."""
    (line,) = answers("model,gpu,engine,engine_version,weights,kv_cache,concurrency,input_tokens,output_tokens\n"
                      f"Qwen/Qwen3-1.7B,{gpu},{engine},{version},bf16,bf16,1,128,128\n")
    assert (line["error"], line["refused_by"], line["kernel"]) == ("", "", "16-bit")
