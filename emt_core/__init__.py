"""emt_core: how recurrent networks remember, in small readable modules.

One floor above the other, and each file imports only from its own or from those below: ``report`` looks into a network
of yours, ``book`` tells what was found, ``experiments`` makes tables of many networks, ``analysis`` looks inside one,
``training`` makes it, ``networks`` is what learns, ``theory`` what is expected of it, ``tasks`` what is asked,
``support`` what all of them stand on.
"""

__version__ = "0.1.0"
