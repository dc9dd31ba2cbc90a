"""Copying names from source text: how networks go on, names in a scene, and edits of one letter."""

import pytest
import torch

from emt_core.analysis import copying, layers
from emt_core.networks import Functions, Reader, cell_named
from emt_core.networks.hand_built import onion, subspaces
from emt_core.support.random_streams import stream
from emt_core.tasks.source_text import CHARACTERS, LETTERS, Source, decode, encode

CHARACTER = {c: k for k, c in enumerate(CHARACTERS)}


def reader(cell: str = "gru", seed: int = 0) -> Reader:
    V = len(CHARACTERS)
    return Reader.init(cell_named(cell), V, 12, [stream(seed, "network")], vocabulary=V, inputs=5)


def slowly(model: Reader, prompt: str, length: int) -> str:
    """What is written after a prompt, one step after the other."""
    h = model.cell.zero_state(1)
    for c in encode(prompt):
        h = model.step(h, c.view(1, 1))
    said = []
    for _ in range(length):
        said.append(model.read_out(h)[0, 0].argmax())
        h = model.step(h, said[-1].view(1, 1))
    return decode(torch.stack(said))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_networks_go_on_by_themselves(cell):
    model, prompt = reader(cell), "self.name = "
    found = copying.goes_on(model, model.encode(encode(prompt)[None, :, None]), 7)
    assert decode(found[0]) == slowly(model, prompt, 7)


def test_copied_is_the_name_and_the_lines_end(monkeypatch):
    """By networks that write the name that stands in the prompt, a line's end after it or not: names and prompts of
    several lengths, in no order."""
    prompts, names = ["x self.b = ", "self.long_name = ", "self.b = ", "self.other = "], ["b", "long_name", "b", "else"]
    read = {}
    monkeypatch.setattr(Reader, "encode", lambda self, x: read.update(last=x) or torch.zeros(1, x.shape[2], 12))

    def goes_on(model, h, length):
        said = [decode(column).split("self.")[1].split(" = ")[0] + "\n" for column in read["last"][0].T]
        return torch.stack([encode(each.ljust(length, "x")[:length]) for each in said])

    monkeypatch.setattr(copying, "goes_on", goes_on)
    assert copying.copied(reader(), prompts, names).tolist() == [True, True, True, False]
    assert copying.copied(reader(), ["self.ab = "], ["a"]).tolist() == [False]  # begun rightly, and not ended


def test_copied_asks_the_network():
    """One that writes "a" after a space and a line's end after an "a", whatever else was read."""
    V = len(CHARACTERS)
    weights = dict(reader().weights)
    embedding = torch.eye(V)[None]
    W_out = torch.zeros(1, V, V)
    W_out[0, CHARACTER["a"], CHARACTER[" "]] = W_out[0, CHARACTER["\n"], CHARACTER["a"]] = 1
    cell = cell_named("elman")(W_hh=torch.zeros(1, V, V), W_uh=torch.eye(V)[None], activation="identity")
    network = Reader(cell, W_out, torch.zeros(1, V), embedding)
    assert weights and copying.copied(network, ["self.a = ", "b = ", "a"], ["a", "a", "a"]).tolist() == [
        True,
        True,
        False,
    ]


def test_names_in_their_places_and_in_a_scene():
    source = Source("aaaa\nself.one = one\nself.two = two\nself.one = one\n")
    prompts, names = copying.in_place(source, 12, ["one"])
    assert names == ["one", "one"] and prompts[1] == "\nself.one = " and len(prompts[0]) == 12
    assert copying.in_place(source, 40, ["one"])[1] == ["one"]  # the others have less before them
    first, *_ = copying.prompted(["alpha", "b"])
    assert first == "\n\nclass Thing:\n\n    def __init__(self, alpha):\n        self.alpha = "


@pytest.mark.parametrize("scene", [copying.SCENE, ("self.", " = ")])
def test_a_network_in_a_scene_reads_names_alone(scene):
    model, names = reader(), ["alpha", "gamma", "b_c_d"]
    network, tokens = copying.in_a_scene(model, scene), copying.spelled(["alpha", "gamma", "b_c_d"])
    assert tokens.shape == (5, 3) and "".join(LETTERS[t] for t in tokens[:, 2]) == "b_c_d"
    h = layers.states(network, tokens)
    for b, prompt in enumerate(copying.prompted(names, scene)):
        torch.testing.assert_close(h[:, b], model.encode(encode(prompt)[None, :, None])[:, 0], rtol=1e-5, atol=1e-6)
        written = network.write(h, 4)[0, :, b]
        expected = [LETTERS.find(c) if c in LETTERS else len(LETTERS) for c in slowly(model, prompt, 4)]
        assert written.tolist() == expected


@pytest.mark.parametrize(("make", "units", "overlap"), [(subspaces, 40, (0, 0.15)), (onion, 160, (0.6, 1))])
def test_letters_of_codes_written_down(make, units, overlap):
    """Networks whose layers are known: an edit of one letter succeeds, and no control does."""
    network = make(units, len(LETTERS), 4, rest=0.02)
    names = torch.randint(len(LETTERS), (4, 900), generator=stream(0, "names"))
    among, judged = names.split([400, 500], dim=1)
    found = copying.code(network, among, judged, stream(0, "code"))
    assert overlap[0] <= found["overlap_any"] <= overlap[1] and found["additive"] > 0.95
    assert found["size_0"] > 0.99 * found["size_3"] > 0
    shares = copying.edited(network, among, judged, stream(0, "edit"))
    assert shares["copied"] > 0.95 and shares["edit"] > 0.95
    assert shares["edit_copied"] > 0.95
    assert max(shares[name] for name in ("elsewhere", "random", "mixed")) < 0.1
    if make is subspaces:
        assert max(shares["neighbour"], shares["farther"]) < 0.1
    else:  # layers of neighbours are much the same but for their size, and the scaled ones have the right size
        assert shares["neighbour"] > shares["farther"] + 0.1


def test_names_with_the_right_letters_in_a_wrong_order():
    """A network that has, of four names, one right, two neighbours exchanged, another order, and a wrong letter."""
    names = torch.tensor([[0, 1, 2], [3, 4, 5], [6, 7, 8], [9, 10, 11]]).T
    says = torch.tensor([[0, 1, 2], [3, 5, 4], [8, 7, 6], [9, 10, 0]])
    network = Functions(encode=lambda x: x[:, :1].double(), write=lambda h, k: says[:, :k], vocabulary=len(LETTERS))
    found = copying.misplaced(network, names)
    # the first wrong letters: 5 for 4, and 5 comes next; 8 for 6, and 7 comes next; 0 at the end
    expected = {"wrong": 3 / 4, "anagrams": 2 / 3, "exchanged": 1 / 3, "next": 1 / 2, "letters": 8 / 9}
    assert found == pytest.approx(expected | {"letters_chance": 0.0})
