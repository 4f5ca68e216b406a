"""What the callbacks of training libraries share: where a run comes from, hooks that never raise, a truthful end."""
