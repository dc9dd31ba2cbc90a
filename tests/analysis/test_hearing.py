"""One wrong token fed: against a loop, on networks whose code is known, and the shares on tokens made by hand."""

import pytest
import torch

from emt_core.analysis import hearing
from emt_core.analysis.hearing import WrongWords
from emt_core.networks import GRU, TokenNetwork
from emt_core.networks.hand_built import onion, subspaces

V, L = 6, 4


def gru(autoregressive=True) -> TokenNetwork:
    drawn = [torch.Generator().manual_seed(m) for m in range(2)]
    return TokenNetwork.init(GRU, V, 5, drawn, autoregressive=autoregressive)


@pytest.mark.parametrize("autoregressive", [True, False])
def test_a_wrong_token_is_fed_once(autoregressive):
    model, draw = gru(autoregressive), torch.Generator().manual_seed(3)
    tokens, told = torch.randint(V, (L, 20), generator=draw), torch.randint(V, (20,), generator=draw)
    found = hearing.disturbed(model, tokens, told, 1)
    h = model.cell.zero_state(20)
    for row in tokens:
        h = model.step(h, row.expand(2, -1))
    for t in range(L):
        truth = tokens[t - 1] if autoregressive else torch.full((20,), V + 1)
        fed = torch.full((20,), V) if t == 0 else told if t == 2 else truth
        h = model.step(h, fed.expand(2, -1))
        assert torch.equal(found[:, t], model.read_out(h[:, None])[:, 0].argmax(2))
    plain = hearing.written(model, tokens)
    assert torch.equal(plain[:, :2], found[:, :2])


def test_a_wrong_token_spoils_an_onion_as_the_wrong_layer_says_and_no_subspaces():
    words = {
        m.__name__: hearing.wrong_words(m(24, V, L, rest=0), L, torch.Generator(), 500) for m in (subspaces, onion)
    }
    apart, peeled = words["subspaces"], words["onion"]
    assert (apart.undisturbed == 1).all() and (peeled.undisturbed == 1).all()
    assert (apart.right == 1).all() and apart.predicted.isnan().all()  # nothing is wrong
    assert (peeled.right < 0.4).all()
    assert (peeled.predicted > 0.5).all() and (peeled.by_chance < 0.3).all()
    assert (peeled.predicted_by_right < 0.02).all()
    # the layer that was not taken off is the largest that is left
    assert (peeled.repeated > 0.8).all()
    assert set(apart.shares()) == set(peeled.shares()) and peeled.shares()["right"].shape == (1,)
    assert float(peeled.shares()["right"]) == pytest.approx(float(peeled.right.mean()))


def test_shares_count_wrong_tokens_after_the_wrong_one():
    asked = torch.tensor([[0, 1], [2, 3], [4, 5]])
    plain = torch.tensor([[[0, 1], [2, 0], [4, 5]]])
    # after position 0: (0, 0, 4) and (1, 1, 1); after position 1: (0, 2, 2) and (1, 3, 0)
    written = torch.tensor([[[[0, 1], [0, 1], [4, 1]], [[0, 1], [2, 3], [2, 0]]]])
    said = torch.tensor([[[[0, 1], [0, 1], [4, 2]], [[0, 1], [2, 3], [5, 0]]]])
    words = WrongWords(asked, plain, written, said, asked[None])
    assert words.undisturbed.tolist() == [[3 / 4, 1.0]]
    assert words.right.tolist() == [[1 / 4, 0.0]]
    assert words.predicted[0].tolist() == pytest.approx([2 / 3, 1 / 2])  # of 0, 1, 1 the first two; of 2, 0 the second
    assert words.predicted_by_right.tolist() == [[0.0, 0.0]]
    assert words.repeated[0].tolist() == pytest.approx([1, 1 / 2])
    assert words.by_chance[0].tolist() == pytest.approx([0, 0])
    # the reader says the token at p again in two of the wrong ones after 0, and in none after 1
    assert words.predicted_beyond_repeats[0].tolist() == pytest.approx([0, 1 / 2])


@pytest.mark.parametrize("after", [-1, 3])
def test_the_wrong_token_comes_before_the_last(after):
    with pytest.raises(ValueError, match=r"^after must "):
        hearing.disturbed(gru(), torch.zeros(L, 2, dtype=torch.int64), torch.zeros(2, dtype=torch.int64), after)
