"""Loss and gradients of an ensemble of tanh Elman networks. ``reference`` is the truth; the others are fast."""
