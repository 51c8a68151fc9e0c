"""Everything that only a GPU can show, in one command of at most eight minutes.

    python -m benchmarks.gpu --output gpu.json

Each section runs in a process of its own, since an error of CUDA leaves a process unusable, and
within a share of the time that is left; what it measured is printed, and the JSON file is written
anew after every section. It needs PyTorch with torchvision, scikit-learn, SciPy, pandas, pydantic,
jaxtyping, safetensors and PyYAML, for the peers lightly, for its tests pytest; neither Ray nor any
file of a dataset: images are synthetic.

`--small` runs the same on any machine, at a size that says nothing about speed; without a GPU it
computes on the CPU.
"""
