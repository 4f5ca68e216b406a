"""Somebody's own evaluation, run on two adapters and compared.

    command     the command with its placeholders filled in
    process     running it: bounded, visible, and gone when it is over
    measure     one measured number, and what is known of its noise
    documents   such numbers in JSON that a script prints or writes
    harness     ... in the result files of lm-evaluation-harness
    outputs     ... wherever an evaluation has left them
    metric      which of them is meant, and which direction is better
    paired      the difference of two adapters, with its standard error
    verdict     whether that is within a tolerance: pass, fail, or more than was shown

All but `process` and `outputs` are pure: text and records in, records out.
"""
