import pytest

from gradience.references.reference import Reference, parse

PATHS = ["out/adapter", "/abs/out", "./runs:/1/x", "C:/out/adapter", "C:\\out", "c:out", "run-1", "a:b", "", "http:x"]


@pytest.mark.parametrize("text", PATHS)
def test_what_has_no_scheme_is_a_path(text: str) -> None:
    """A drive letter is no scheme, nor is a colon without a slash."""
    assert parse(text) is None


@pytest.mark.parametrize(
    ("text", "scheme", "rest"),
    [
        ("hf://org/name@v1/sub", "hf", "org/name@v1/sub"),
        ("s3://bucket/path/", "s3", "bucket/path"),
        ("runs:/0123/adapter", "runs", "0123/adapter"),
        ("models:/name@champion", "models", "name@champion"),
        ("wandb-artifact://e/p/a:v1", "wandb-artifact", "e/p/a:v1"),
        ("S3://Bucket/Path", "s3", "Bucket/Path"),
    ],
)
def test_a_scheme_makes_a_reference(text: str, scheme: str, rest: str) -> None:
    """The scheme is in lower case; the rest keeps its case and loses slashes at its ends."""
    found = parse(text)
    assert found == Reference(text)
    assert (found.scheme, found.rest) == (scheme, rest)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://me:secret@host/a", "https://[REDACTED]@host/a"),
        ("https://host/a?X-Amz-Signature=abc&x=1", "https://host/a?[REDACTED]"),
        ("hf://org/name@main/sub", "hf://org/name@main/sub"),
        ("s3://bucket/token=abc/a", "s3://bucket/token=[REDACTED]"),
        ("models:/name@alias", "models:/name@alias"),
    ],
)
def test_a_reference_is_shown_without_credentials(text: str, shown: str) -> None:
    """User information, assigned secrets and the queries of signed addresses."""
    assert Reference(text).shown == shown


@pytest.mark.parametrize(
    ("text", "folder", "file"),
    [
        ("hf://org/name/a/style.safetensors", "hf://org/name/a", "style.safetensors"),
        ("https://host/a/x.safetensors?sig=1", "https://host/a?sig=1", "x.safetensors"),
        ("s3://bucket/a.safetensors/", "s3://bucket/a.safetensors/", None),
    ],
)
def test_some_adapters_are_files(text: str, folder: str, file: str | None) -> None:
    """The folder is what is looked into; what is shown is the whole."""
    found = parse(text)
    assert found == Reference(folder, None, file)
    assert found.shown == text.replace("?sig=1", "?[REDACTED]")
