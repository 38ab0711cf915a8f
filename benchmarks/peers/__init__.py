"""One module per peer: the works of `benchmarks.works`, written the way that peer's users would.

Each runs in an environment of its own, so each imports only its peer, numpy and
`benchmarks.works` and `benchmarks.worker`. What a peer cannot do is left out of its ``WORKS``, and
`benchmarks.environments` says why.
"""
