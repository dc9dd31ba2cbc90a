"""Change ringing: place notation against rows that ringers print, the package's tables, and what networks are given."""

import importlib.util
import itertools
import warnings
from importlib.metadata import PackageNotFoundError, distribution
from types import ModuleType

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from emt_core.support.random_streams import stream, streams
from emt_core.tasks import change_ringing
from emt_core.tasks.change_ringing import ChangeRinging, Method, parse, right_rows, spelled, split_rows

PLAIN_BOB_MINIMUS = Method("Plain Bob", 4, "&x14x14,12")
PLAIN_BOB_MINOR = Method("Plain Bob", 6, "&x16x16x16,12")


@pytest.fixture(scope="module")
def tables():
    try:
        distribution("crengine")
    except PackageNotFoundError:
        pytest.skip("crengine is not installed")
    return change_ringing.tables()


@pytest.fixture(scope="module")
def theirs() -> ModuleType:
    """The package's file that rings, which imports ``re`` alone; the package itself opens databases and sounds."""
    try:
        path = distribution("crengine").locate_file("crengine/ringing.py")
    except PackageNotFoundError:
        pytest.skip("crengine is not installed")
    spec = importlib.util.spec_from_file_location("their_ringing", str(path))
    module = importlib.util.module_from_spec(spec)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its regular expressions are no raw strings
        spec.loader.exec_module(module)
    return module


def rung(rows):
    """Rows as they are printed, one after the other."""
    return rows.split()


def course(method):
    return method.rows(method.lead * method.leads)


def test_the_first_lead_of_plain_bob_minor_by_hand():
    """All pairs swap; all but first and last swap; six times each in turn, but the last time 1 and 2 stay: the treble
    hunts out and back, and the others would have come back too."""
    rows = rung("123456 214365 241635 426153 462513 645231 654321 563412 536142 351624 315264 132546 135264")
    assert [spelled(row) for row in PLAIN_BOB_MINOR.rows(13)] == rows


def test_plain_bob_minor_comes_round_after_sixty_rows():
    assert (PLAIN_BOB_MINOR.lead, PLAIN_BOB_MINOR.leads, PLAIN_BOB_MINOR.cycles) == (12, 5, (5, 1))
    rows = [spelled(row) for row in PLAIN_BOB_MINOR.rows(61)]
    assert rows[60] == rows[0] == "123456" and len(set(rows)) == 60
    heads = [rows[t] for t in range(0, 61, 12)]  # as any book on ringing has them
    assert heads == ["123456", "135264", "156342", "164523", "142635", "123456"]


def test_plain_bob_minimus_rings_every_row_there_is():
    """4! = 24 rows: an extent."""
    assert sorted(map(spelled, course(PLAIN_BOB_MINIMUS))) == ["".join(p) for p in itertools.permutations("1234")]


def test_grandsire_doubles_by_hand():
    """Thirds at first, then plain hunt; bell 2 hunts as the treble does. A plain course is three leads of ten."""
    grandsire = Method("Grandsire", 5, "3,&1.5.1.5.1")
    rows = rung("12345 21354 23145 32415 34251 43521 45312 54132 51423 15243 12534")
    assert [spelled(row) for row in grandsire.rows(11)] == rows
    assert (grandsire.lead, grandsire.leads, grandsire.cycles, grandsire.true) == (10, 3, (3, 1, 1), True)


@pytest.mark.parametrize(
    ("title", "lead_end"),
    [
        ("Cambridge Surprise Minor", "156342"),
        ("Kent Treble Bob Minor", "142635"),
        ("London Surprise Minor", "142635"),
        ("Plain Bob Major", "13527486"),
        ("Cambridge Surprise Major", "15738264"),
    ],
)
def test_lead_ends_that_ringers_know(tables, title, lead_end):
    method = tables.method(title)
    assert spelled(method.rows(method.lead + 1)[-1]) == lead_end


def test_stedman_begins_within_a_six(tables):
    """Six changes that hunt one way, six the other; by custom one starts at the fourth row of a quick six."""
    stedman = tables.method("Stedman Doubles")
    assert [spelled(row) for row in stedman.rows(5)] == ["12345", "21354", "23145", "32415", "23451"]
    assert (stedman.lead, len(course(stedman)), stedman.true) == (12, 60, True)


def test_the_tables_hold_300_methods_and_all_can_be_read(tables):
    assert (len(tables.methods), tables.unreadable) == (300, ())
    found = {table: sum(m.table == table for m in tables.methods) for table in {m.table for m in tables.methods}}
    assert found == {"plain": 95, "principle": 22, "teaching": 11, "trebledodging": 148, "variation": 24}
    assert len({m.title for m in tables.methods}) == 300


def test_only_methods_for_teaching_are_not_true(tables):
    false = [m for m in tables.methods if not m.true]
    assert {m.table for m in false} == {"teaching"} and len(false) == 7
    assert "Whole Pull Plain Hunt Singles" in {m.title for m in false}  # rings each row twice, as its name says


def test_every_change_of_every_method_moves_bells_by_one_place_at_most(tables):
    for method in tables.methods:
        moved = torch.tensor(method.changes) - torch.arange(method.bells)
        assert moved.abs().max() == 1
        rows = method.rows(method.lead + 1)
        assert torch.equal(rows.sort(1).values, torch.arange(method.bells).expand_as(rows))


def test_every_method_rings_as_in_the_packages_own_code(tables, theirs):
    for method in tables.methods:
        other = theirs.Method(method.name, method.bells)
        other.setmethod(method.notation)
        block = theirs.Block("", method.bells)
        other.ringplainlead(block)
        assert [spelled(row) for row in method.rows(method.lead + 1)] == [row.get() for row in block.rows], method.title


def test_places_left_out_at_the_ends_are_understood():
    assert parse("4", 5) == parse("14.", 5)[:0] + parse("145", 5)
    assert parse("x.3", 6)[1] == (1, 0, 2, 4, 3, 5)
    assert parse("-14-", 4) == parse("X.14.x", 4)


@pytest.mark.parametrize(
    ("notation", "bells", "says"),
    [
        ("x", 5, "odd number"),
        ("17", 6, "ascending places of 6"),
        ("41", 6, "ascending places"),
        ("1Z", 6, "ascending places"),
        ("11", 6, "ascending places"),
        ("13", 6, "pairs of neighbours"),
        ("", 6, "changes in every part"),
        ("x14,", 6, "changes in every part"),
        ("x&14", 6, "ascending places"),
        ("x16<3", 6, "below 2 after"),
        ("x16<", 6, "below 2 after"),
    ],
)
def test_what_is_no_notation(notation, bells, says):
    with pytest.raises(ValueError, match=f"^notation must .*{says}"):
        Method("Wrong", bells, notation)


@pytest.mark.parametrize("bells", [2, 17])
def test_too_few_or_too_many_bells(bells):
    with pytest.raises(ValueError, match=r"^bells must"):
        Method("Wrong", bells, "12")


def test_lines_that_are_no_methods_are_reported(tmp_path):
    path = tmp_path / "odd.csv"
    path.write_text("Name,Bells,Lead\nGood,4,x14\nCross,5,x\nShort\nBells,four,x\n")
    tables = change_ringing.read_tables([path])
    assert [m.title for m in tables.methods] == ["Good Minimus"]
    assert [line for _, line, _ in tables.unreadable] == ["Cross,5,x", "Short", "Bells,four,x"]
    assert all(table == "odd" and why for table, _, why in tables.unreadable)
    with pytest.raises(ValueError, match=r"^title must be .* 'Bad Minimus'"):
        tables.method("Bad Minimus")


def test_without_the_package_the_error_names_it(monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(change_ringing, "distribution", missing)
    with pytest.raises(ModuleNotFoundError, match=r"pip install crengine==3.2.1"):
        change_ringing.tables()


def ring(method, row, first, count):
    """Rows as lists, change by change."""
    rows = [list(row)]
    for t in range(count - 1):
        rows.append([rows[-1][p] for p in method.changes[(first + t) % method.lead]])
    return rows


def test_sequences_follow_their_method_from_any_row():
    task = ChangeRinging((PLAIN_BOB_MINIMUS,))
    rows = task.rows(200, 30, stream(0, "test")).transpose(0, 1).tolist()
    assert len({tuple(sequence[0]) for sequence in rows}) == 24
    assert all(sequence == ring(PLAIN_BOB_MINIMUS, sequence[0], 0, 30) for sequence in rows)


def test_sequences_of_several_methods_from_anywhere():
    """Each is one of the ways, and all ways come up."""
    methods = (PLAIN_BOB_MINIMUS, Method("Reverse Bob", 4, "&x14x34,14"))
    task = ChangeRinging(methods, heard=5, anywhere=True)
    assert len(task.ways) == 16
    fits = []
    for sequence in task.rows(300, 12, stream(1, "test")).transpose(0, 1).tolist():
        fits.append({(m.name, t) for m, t in task.ways if ring(m, sequence[0], t, 12) == sequence})
    assert all(fits) and set.union(*fits) == {(m.name, t) for m, t in task.ways}


@given(st.integers(3, 16), st.data())
def test_rows_are_coded_and_read_again(bells, data):
    task = ChangeRinging((Method("Hunt", bells, "12" if bells % 2 == 0 else "1"),))
    row = torch.tensor(data.draw(st.permutations(range(bells))))
    signs = task.encode(row)
    assert signs.shape == (task.dim,) and set(signs.tolist()) <= {-1.0, 1.0}
    assert torch.equal(task.decode(0.1 * signs), row)


def test_codes_by_hand():
    task = ChangeRinging((PLAIN_BOB_MINOR,))
    assert (task.bits, task.dim) == (3, 18)
    assert task.encode(torch.tensor([0, 1, 2, 3, 4, 5])).view(6, 3).tolist() == [
        [-1, -1, -1], [1, -1, -1], [-1, 1, -1], [1, 1, -1], [-1, -1, 1], [1, -1, 1],
    ]  # fmt: skip


def test_samples_are_rows_in_signs_and_a_model_draws_from_its_own_stream():
    task = ChangeRinging((PLAIN_BOB_MINOR,), heard=2)
    inputs, targets = task.sample(7, 5, streams([3, 4], "test"), torch.float64)
    assert inputs.shape == (2, 2, 7, 18) and targets.shape == (2, 5, 7, 18) and targets.dtype == torch.float64
    rows = task.rows(7, 7, stream(4, "test"))
    assert torch.equal(task.decode(torch.cat([inputs, targets], 1)[1]), rows)


def test_how_many_rows_must_be_heard():
    """From the lead's first change one row is enough. From anywhere one must know when 12 comes in x 14 x 14 x 14 x 12:
    x 14 x 14 x begins the lead or comes two changes later, and no six changes are found twice."""
    assert ChangeRinging((PLAIN_BOB_MINIMUS,)).told
    told = {heard: ChangeRinging((PLAIN_BOB_MINIMUS,), heard, anywhere=True).told for heard in range(1, 11)}
    assert [heard for heard, enough in told.items() if enough] == [7, 8, 9, 10]
    two = (PLAIN_BOB_MINIMUS, Method("Reverse Bob", 4, "&x14x34,14"))  # x 14 x 34 x 14 x 14
    assert [ChangeRinging(two, heard).told for heard in (4, 5)] == [False, True]


def test_starts_are_drawn_from_those_that_are_given():
    train, test = split_rows(5, 0.25, stream(0, "split"))
    assert len(train) == 90 and len(test) == 30 and len({*train, *test}) == 120
    task = ChangeRinging((Method("Plain Bob", 5, "&5.1.5.1.5,125"),), starts=test)
    assert {tuple(row) for row in task.rows(500, 3, stream(0, "test"))[0].tolist()} == set(test)


def test_free_contents_are_any_signs_and_go_where_bells_would():
    """Of the 8 codes of 3 bits, 5 of which are bells', in any place; what a method moves, it moves alike."""
    method = Method("Plain Bob", 5, "&5.1.5.1.5,125")
    rows = ChangeRinging((method,), free=True).rows(400, 12, stream(0, "test"))
    assert set(rows.unique().tolist()) == set(range(8)) and len(rows[0].unique(dim=0)) > 390  # of 2^15
    assert torch.equal(rows, rows[0][:, method.sources(12)].transpose(0, 1))
    assert ChangeRinging((method,), free=True).identity != ChangeRinging((method,)).identity
    with pytest.raises(ValueError, match=r"^starts must be none where contents are free, got 1"):
        ChangeRinging((method,), starts=((0, 1, 2, 3, 4),), free=True)


def test_right_rows_are_right_in_every_sign():
    wanted = torch.tensor([[1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    written = torch.tensor([[0.2, -3.0], [1.0, -0.1], [-1.0, 0.0]])
    assert right_rows(written, wanted).tolist() == [True, False, False]


def test_what_is_no_task():
    with pytest.raises(ValueError, match=r"^methods must"):
        ChangeRinging(())
    with pytest.raises(ValueError, match=r"^methods must .* \[4, 6\]"):
        ChangeRinging((PLAIN_BOB_MINIMUS, PLAIN_BOB_MINOR))
    with pytest.raises(ValueError, match=r"^heard must"):
        ChangeRinging((PLAIN_BOB_MINIMUS,), 0)
    with pytest.raises(ValueError, match=r"^starts must"):
        ChangeRinging((PLAIN_BOB_MINIMUS,), starts=((1, 2, 3, 4),))
    with pytest.raises(ValueError, match=r"^start must"):
        PLAIN_BOB_MINIMUS.rows(3, [0, 1, 2, 2])
    for bells, share in [(9, 0.5), (4, 1.0)]:
        with pytest.raises(ValueError, match=r"^share must"):
            split_rows(bells, share, stream(0, "split"))
