"""What a person should hear about a run, as messages in a chat; importing this package opens no connection.

sink       the class that the registry loads
address    where messages go: the URL is a secret
messages   which lines matter, and what is said of them
wording    a message as Slack, Discord or another receiver takes it
post       one request, and what its answer means
posted     what was posted already, kept beside the cursor
probing    does the address answer, without a message
"""

from gradience_webhook.sink import WebhookSink

__all__ = ["WebhookSink"]
