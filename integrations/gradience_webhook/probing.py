"""Does a webhook answer? Asked so that nothing is posted."""

from contextlib import suppress

from gradience.errors import RejectedError
from gradience_webhook import post
from gradience_webhook.address import Address


def probe(address: Address, timeout_s: float) -> str:
    """What answered, in one line.

    Slack refuses an empty message at a hook that lives, Discord shows a hook to whoever has its URL; of any other
    receiver nothing more can be told than that it answers.

    Raises:
        SinkError: nothing answers, or the webhook is gone.
    """
    action = f"Asking the webhook at {address.host}"
    if address.style == "discord":
        post.send(address, action, None, method="GET", timeout_s=timeout_s).check(action)
        return f"the webhook at {address.host} is there"
    if address.style == "slack":
        with suppress(RejectedError):  # as it should: there is no text
            post.send(address, action, b"{}", timeout_s=timeout_s).check(action)
        return f"the webhook at {address.host} is there"
    answer = post.send(address, action, None, method="HEAD", timeout_s=timeout_s)
    if answer.status >= 500:
        answer.check(action)
    return f"{address.host} answers {answer.status}; whether it takes messages only a message can tell"
