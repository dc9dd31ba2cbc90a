"""Draw the README's picture, theme/eigenvalues.svg: repeat copy at the paper's size, before and after training.

python tools/readme_picture.py
"""

from pathlib import Path

import matplotlib.pyplot as plt
import torch

from emt_core.analysis import spectrum
from emt_core.book import figures
from emt_core.networks import Elman, VectorNetwork, load
from emt_core.tasks import VariableBinding
from emt_core.theory import circuit

ROOT = Path(__file__).resolve().parent.parent


def main() -> None:
    trained, about = load(ROOT / "book" / "data" / "repeat_copy.safetensors")
    untrained = VectorNetwork.init(Elman, 8, 128, [torch.Generator().manual_seed(int(about["seed"]))])
    theory = spectrum.eigenvalues(circuit.interaction_matrix(VariableBinding.repeat_copy(8, 8)))
    with figures.style():
        figure, axes = plt.subplots(1, 2, figsize=(9, 5))
        for ax, model, title in zip(axes, (untrained, trained), ("before training", "after 20,000 steps"), strict=True):
            figures.eigenvalues(spectrum.eigenvalues(model.W_hh[0]), theory, ax=ax, title=title)
        figure.savefig(ROOT / "theme" / "eigenvalues.svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
