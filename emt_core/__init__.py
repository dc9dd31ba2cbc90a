"""emt_core: how recurrent networks remember, in small readable modules.

Read downwards: ``tasks`` and ``cells`` say what is learned and by what, ``circuit`` what the theory expects, ``train``
trains ensembles, ``linearize`` and ``spectrum`` look at the result, ``memories`` finds the privileged basis,
``interventions`` edits states in it and ``probes`` reads them; ``gsemm`` is where the theory comes from.
Nothing here imports matplotlib or a widget: ``figures`` and ``explorers`` sit on top and are imported by chapters only.
"""

__version__ = "0.1.0"
