"""What a rank costs where adapters are served: vLLM reserves room for one of a few ranks, whatever an adapter has."""

from typing import Final

SLOTS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)  # `MaxLoRARanks` of vllm/config/lora.py


def slot(rank: int) -> int | None:
    """The least `max_lora_rank` of vLLM that takes an adapter of this rank; None above all of them."""
    return next((one for one in SLOTS if one >= rank), None)
