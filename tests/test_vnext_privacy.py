"""What text may reach the file."""

import pytest

from gradience.errors import TextViolationError
from gradience.vnext import privacy


def test_text_at_the_limit_passes_and_above_it_becomes_a_mark() -> None:
    """256 characters are allowed; one more leaves only its length."""
    assert [privacy.clean("x" * count, privacy.DEFAULT, "") for count in (256, 257)] == [
        "x" * 256,
        "[REDACTED len=257]",
    ]


def test_a_policy_may_refuse_text() -> None:
    """A refusal names the place, the length and the way out."""
    with pytest.raises(TextViolationError, match=r"300 characters, 256 allowed\) at /message: .*allow_text=True"):
        privacy.clean("x" * 300, privacy.Policy(refuse=True), "/message")


@pytest.mark.parametrize(
    "key",
    ["token", "hub_token", "HF_TOKEN", "apiKey", "api-key", "WANDB_API_KEY", "db_password", "--token", "WEBHOOK_URL"],
)
def test_secret_like_keys_are_known(key: str) -> None:
    """Case, dashes and camel case do not hide a secret's key."""
    assert privacy.is_secret(key)


@pytest.mark.parametrize(
    "key", ["num_tokens", "tokens", "tokenizer", "max_token_length", "pad_token", "eos_token", "author", "key", "loss"]
)
def test_words_that_only_look_like_secrets_pass(key: str) -> None:
    """Counts of tokens and a tokenizer's special tokens are settings."""
    assert not privacy.is_secret(key)


def test_measurements_are_no_secrets() -> None:
    """Numbers stay, but for an integer under a key that ends in a secret word."""
    values = [("token", 3), ("secret_recall", 0.5), ("token", None), ("password", 1234), ("has_password", True)]
    assert [privacy.is_secret(key, value) for key, value in values] == [False, False, False, True, False]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("https://user:pass@host/x", "https://[REDACTED]@host/x"),
        ("postgresql://u:p@ss@db:5432/x", "postgresql://[REDACTED]@db:5432/x"),
        ("https://host/x?mail=a@b", "https://host/x?mail=a@b"),
        ("git@github.com:a/b", "git@github.com:a/b"),
        ("train.py --hub_token=abc --lr=1", "train.py --hub_token=[REDACTED] --lr=1"),
        ("password: hunter2", "password: [REDACTED]"),
        ("train.py --wandb-api-key abc --max-token 5", "train.py --wandb-api-key [REDACTED] --max-token 5"),
        ("loss per token: 2.3", "loss per token: 2.3"),
        ("login with hf_" + "a" * 34, "login with [REDACTED]"),
        ("sk-" + "a1" * 20, "[REDACTED]"),
        ("to https://hooks.slack.com/services/T0/B0/x1y2", "to https://hooks.slack.com/[REDACTED]"),
        ("https://discord.com/api/webhooks/12/aBc-dEf_0123", "https://discord.com/api/webhooks/[REDACTED]"),
        ("Authorization: Bearer " + "a1" * 10, "Authorization: [REDACTED]"),
        ("commit 3f1d0a52c4e59d4c7a1b2c3d3f1d0a52c4e59d4c", "commit 3f1d0a52c4e59d4c7a1b2c3d3f1d0a52c4e59d4c"),
    ],
)
def test_secrets_inside_text_are_masked(text: str, expected: str) -> None:
    """User info, assigned secrets and tokens of known shape are masked; what surrounds them stays."""
    assert privacy.clean(text, privacy.Policy(max_str_len=None), "") == expected


def test_a_secret_that_is_known_is_masked_wherever_it_stands() -> None:
    """Those of the environment and of a sink's options, by their keys; a short one may be any word."""
    env = {
        "HUB_TOKEN": "opensesame",
        "PASSWORD": "gpt2",
        "URI": "http://me:hunter2hunter2@host",
        "HOME": "/home/me",
        "SSH_AUTH_SOCK": "/run/keyring",
    }
    known = privacy.secrets({**env, "options": [{"api_key": "12345678"}]})
    assert known == ("hunter2hunter2", "opensesame", "12345678")
    text = "opensesame, hunter2hunter2; gpt2 at 12345678 of 123456789"
    expected = "[REDACTED], [REDACTED]; gpt2 at [REDACTED] of 123456789"
    assert privacy.clean(text, privacy.Policy(known=known), "") == expected


def test_lone_surrogates_are_replaced() -> None:
    """Text that no UTF-8 file can hold is made writable."""
    assert privacy.clean("a\ud800b", privacy.DEFAULT, "") == "a?b"
