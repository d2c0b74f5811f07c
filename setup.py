"""Installation of lam_sb, a SpeechBrain plugin for cross-lingual SER."""

from pathlib import Path

from setuptools import find_packages, setup

# Brings the eSpeak NG library, which speaks the demo corpora.
DEMO = ["espeakng-loader>=0.2.4"]
# What writes a model as an ONNX file, and compares it.
ONNX = ["onnx>=1.17", "onnxscript>=0.5", "onnxruntime>=1.20"]

setup(
    name="lam_sb",
    version="0.1.0",
    description=(
        "Layer anchoring for cross-lingual speech emotion recognition: "
        "a SpeechBrain plugin and recipe"
    ),
    long_description=Path(__file__)
    .with_name("README.md")
    .read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="Apache-2.0",
    # So an editable install puts this folder on the path itself. A finder would
    # lose to a folder lam_sb, as a clone is, where Python starts beside it.
    package_dir={"": "."},
    packages=find_packages(include=["lam_sb", "lam_sb.*"]),
    package_data={
        "lam_sb": ["log-config.yaml"],
        "lam_sb.inference": ["templates/*"],
        "lam_sb.study.report": ["paper.yaml", "templates/*"],
    },
    python_requires=">=3.10",
    install_requires=[
        # From what SpeechBrain asks for to where torchaudio ends; its wheel
        # needs the torch beside it.
        "torch>=2.7.1,<2.12",
        "torchaudio>=2.7.1,<2.12",
        "speechbrain>=1.1",
        "transformers>=5",
        "hyperpyyaml>=1.2",
        "ruamel.yaml",  # which HyperPyYAML reads with
        "pyyaml",
        "huggingface_hub",
        "numpy",
        "sentencepiece>=0.2",
        "safetensors>=0.5",
        "xxhash>=3.4",  # checksums as fast as memory
        "soundfile>=0.13",
        "praatio>=6",
        "scikit-learn>=1.7",  # Brier score of several classes
        "skops>=0.11",  # keeps the ensemble, and loads without running code
        "scipy>=1.13",
        "joblib>=1.4",
        "filelock>=3.15",
        "tqdm>=4.66",
        "matplotlib>=3.9",
        "pandas>=2.2",
        "tabulate>=0.9",  # which pandas writes Markdown with
        "jinja2>=3.1",
        "submitit>=1.5.3",  # jobs of a SLURM cluster
    ],
    extras_require={
        "demo": DEMO,
        "onnx": ONNX,
        "test": [
            *("pytest>=8", "pytest-xdist>=3.6", "ruff>=0.9", *DEMO, *ONNX),
            *("nbclient>=0.10", "ipykernel>=6"),  # run the tutorial
            "hypothesis>=6.100",  # makes up broken inputs
        ],
    },
)
