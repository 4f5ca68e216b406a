"""The base model behind an adapter: how large its weights are, so that an update can be set against them.

`shards` finds tensors, `naming` matches them to modules, `lanczos` and `norms` measure them, `cache` remembers, and
`relative` turns norms into measures of the update. Only what an adapter targets is ever read.
"""
