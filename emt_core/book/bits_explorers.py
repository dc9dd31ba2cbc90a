"""An explorer of what a number format leaves of a memory: its layers against the rounding step, and its bits.

As in `explorers`: Python packs arrays, the script in `js/` computes everything that a reader moves.
"""

from emt_core.book.explorers import Explorer
from emt_core.support.checks import integer
from emt_core.support.formats import FORMATS, format_of
from emt_core.theory.onion import Onion, exact_gamma_bound

CODES = ("onion", "phases")
_LONGEST = 24  # layers that still fit on a phone
_TOKENS = 26  # named by letters


def memory_bits(
    onion: Onion,
    length: int = 12,
    form: str = "bf16",
    *,
    code: str = "onion",
    seed: int = 0,
    caption: str = "",
    name: str = "",
) -> Explorer:
    """Random tokens in a state whose numbers have the format `form`, a name in `support.formats.FORMATS`: the layers'
    sizes against the rounding step, the state's bits, and what is read back.

    onion: V tokens, 2 to 26, in N numbers, as `theory.onion.hand_built` makes them: different ones, entries from −1 to
    1, γ from 0.1 to 0.95. It is written and peeled as `theory.onion.encode` and `peel` do, each layer rounded and the
    state after each sum; the page tells the bound of `theory.onion.layer_bound` beside it. With code "phases" the same
    embeddings keep their size, and each position has N numbers to itself, to which a rotation brings its token.
    length: 1 to 24; seed: of the tokens, from 0. `code`, `form`, `gamma`, `length` and `seed` follow the reader.
    """
    embedding = onion.embedding.double()
    vocabulary, length = len(embedding), integer("length", length, 1)
    if length > _LONGEST:
        raise ValueError(f"length must be at most {_LONGEST}, got {length}")
    if code not in CODES:
        raise ValueError(f"code must be one of {CODES}, got {code!r}")
    if vocabulary > _TOKENS or embedding.abs().max() > 1:
        most = f"{vocabulary} with entries up to {float(embedding.abs().max()):g}"
        raise ValueError(f"onion must have at most {_TOKENS} tokens with entries from -1 to 1, got {most}")
    if not 0.1 <= onion.gamma <= 0.95:
        raise ValueError(f"onion must have gamma from 0.1 to 0.95, got {onion.gamma}")
    exact = exact_gamma_bound(embedding)
    if exact == 0:
        raise ValueError("onion must have a different embedding for each token, got two that are equal")
    formats = [
        # an exponent of w bits reaches from its least one, 2 − 2^(w−1), up
        {"name": f.name, "exponent": (3 - 2 * f.least).bit_length(), "mantissa": f.mantissa, "least": f.least,
         "largest": f.largest}
        for f in FORMATS.values()
    ]  # fmt: skip
    return Explorer(
        "random panel controls memory_bits",
        embedding=embedding.tolist(),  # float64: float32 would move some above their exact γ
        exact=exact,
        formats=formats,
        code=code,
        form=format_of(form).name,
        gamma=float(onion.gamma),
        length=length,
        seed=integer("seed", seed, 0),
        name=name,
        caption=caption,
    )
