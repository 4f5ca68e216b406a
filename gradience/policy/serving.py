"""What a rank costs where adapters are served: vLLM reserves room for one of a few ranks, whatever an adapter has."""

from typing import Final

SLOTS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # `MaxLoRARanks` of vllm/config/lora.py


def savings(before: int | None, after: int | None, ranks: tuple[int, int], copies: int | None) -> str:
    """What a cut saves: sizes in bytes and ranks before and after, for so many adapters of the kind."""
    parts = []
    if before is not None and after is not None:
        parts.append(f"{(before - after) * (copies or 1) / 1e6:.3g} MB{f' over {copies} adapters' if copies else ''}")
    first, second = map(slot, ranks)
    if first is not None and second is not None:
        parts.append(f"vLLM's max_lora_rank {f'from {first} to' if second < first else 'stays'} {second}")
    return ", ".join(parts)


def slot(rank: int) -> int | None:
    """The least `max_lora_rank` of vLLM that takes an adapter of this rank; None above all of them."""
    return next((one for one in SLOTS if one >= rank), None)
