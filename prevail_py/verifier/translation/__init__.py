"""Translation validation: the IR of proved code against the semantics, block by block, in Z3."""

from prevail_py.verifier.translation.blocks import Mistake, validate

__all__ = ["Mistake", "validate"]
