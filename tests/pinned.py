"""What random tests draw from: every kind of model, GPU, format and engine, by name.

A new line in a catalogue leaves them alone, so that what turns red is the code.
"""

MODELS = (
    "meta-llama/Llama-2-7b-hf", "meta-llama/Llama-3.1-8B", "Qwen/Qwen3-32B", "google/gemma-3-4b-it",
    "google/gemma-3-27b-it", "mistralai/Mixtral-8x22B-v0.1", "openai/gpt-oss-20b", "deepseek-ai/DeepSeek-V3",
    "openbmb/MiniCPM3-4B", "Qwen/Qwen3-Next-80B-A3B-Instruct", "ai21labs/Jamba-v0.1", "tiiuae/falcon-mamba-7b",
    "google/recurrentgemma-9b", "bigscience/bloom-7b1", "bigcode/starcoder", "nvidia/Nemotron-4-340B-Instruct",
    "mosaicml/mpt-30b", "EleutherAI/pythia-70m", "openai/whisper-tiny", "Qwen/Qwen3-VL-32B-Instruct",
)
GPUS = (
    "H100 SXM5 80GB", "H200 SXM 141GB", "B200 SXM 180GB", "A100 SXM4 80GB", "L4", "L40S", "T4", "Tesla P40",
    "V100 PCIe 16GB", "GeForce RTX 3090", "GeForce RTX 4090", "GeForce RTX 5090", "RTX A4000",
    "Jetson Orin Nano Super 8GB", "MI300X", "MI100", "Radeon RX 9070 XT", "Radeon 8060S (Ryzen AI MAX+ 395)", "Gaudi3",
    "Arc B580 12GB", "Apple M4 Max (40-core)", "AWS Trainium1", "TPU v5e", "Huawei Ascend 950DT",
)
FORMATS = (
    "fp32", "bf16", "fp16", "fp8", "mxfp8", "int8", "w8a8-int8", "gptq-int8", "bnb-int8", "awq-int4", "gptq-int4",
    "int4-g32", "w4a8", "bnb-nf4", "nvfp4", "mxfp4", "gguf-Q8_0", "gguf-Q4_K_M", "gguf-IQ4_XS", "gguf-Q2_K",
)
ENGINES = ("vllm", "sglang", "trtllm", "llamacpp", "hf-eager", "generic")
