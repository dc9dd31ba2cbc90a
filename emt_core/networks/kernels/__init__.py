"""Fast passes on plain tensors, that know no cell: each is tested against the slow truth."""
