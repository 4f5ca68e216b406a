"""What the numbers of a run did over its steps, in bounded memory."""
