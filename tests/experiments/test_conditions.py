"""Conditions by name, of all experiments that have some: each makes a network of its own."""

import pytest

from emt_core.experiments import call_ringers, copiers, ringers

KINDS = {ringers: ringers.Ringer, call_ringers: call_ringers.CallRinger, copiers: copiers.Copier}


@pytest.mark.parametrize("module", KINDS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_every_condition_makes_a_network_of_its_own(module):
    made = {name: module.network(name, 3) for name in module.CONDITIONS}
    assert len({line.key for line in made.values()}) == len(made) and {line.seed for line in made.values()} == {3}
    for name, (given, _) in module.CONDITIONS.items():
        assert {field: getattr(made[name], field) for field in given} == given
        assert KINDS[module].of_row(made[name].columns()) == made[name]
    assert not any("," in name for name in made)  # the command line splits there
