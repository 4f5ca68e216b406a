"""What a cut saves where adapters are served."""

import pytest

from gradience.policy import serving


@pytest.mark.parametrize(("rank", "slot"), [(1, 1), (2, 8), (8, 8), (9, 16), (257, 320), (512, 512), (513, None)])
def test_a_server_makes_room_for_one_of_a_few_ranks(rank: int, slot: int | None) -> None:
    """VLLM's own list: from 8 to 4 nothing is gained there."""
    assert serving.slot(rank) == slot


@pytest.mark.parametrize(
    ("sizes", "ranks", "copies", "said"),
    [
        ((4_000_000, 1_000_000), (16, 4), None, "3 MB, vLLM's max_lora_rank from 16 to 8"),
        ((4_000_000, 2_000_000), (8, 4), 50, "100 MB over 50 adapters, vLLM's max_lora_rank stays 8"),
        ((None, None), (1024, 4), None, ""),
    ],
)
def test_savings_are_said_in_the_users_units(
    sizes: tuple[int | None, int | None], ranks: tuple[int, int], copies: int | None, said: str
) -> None:
    """Megabytes, of all that are served, and slots."""
    assert serving.savings(*sizes, ranks, copies) == said
