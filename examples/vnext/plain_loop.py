"""The recorder in any training loop: no framework, no tracker, no other library.

    python examples/vnext/plain_loop.py runs/plain.jsonl

fits a straight line by gradient descent and records every step. Look at it with `gradience monitor runs/plain.jsonl`.
"""

import sys

from gradience.vnext.telemetry import TelemetryWriter

LEARNING_RATE = 0.1
POINTS = [(x / 10, 3.0 * x / 10 - 1.0) for x in range(-10, 11)]


def loss_and_gradient(slope: float, intercept: float) -> tuple[float, float, float]:
    """Mean squared error over the points, and its two partial derivatives."""
    errors = [(slope * x + intercept - y, x) for x, y in POINTS]
    n = len(errors)
    return (
        sum(error**2 for error, _ in errors) / n,
        sum(2 * error * x for error, x in errors) / n,
        sum(2 * error for error, _ in errors) / n,
    )


def main(path: str, steps: int = 100) -> None:
    """Fit the line, recording to `path`."""
    slope = intercept = 0.0
    config = {"model_name": "straight-line", "optimizer": {"name": "sgd", "lr": LEARNING_RATE}}
    with TelemetryWriter(path) as telemetry:
        telemetry.run_start(config, meta={"experiment": "plain-loop"})
        for step in range(1, steps + 1):
            loss, by_slope, by_intercept = loss_and_gradient(slope, intercept)
            slope -= LEARNING_RATE * by_slope
            intercept -= LEARNING_RATE * by_intercept
            telemetry.train_step(step, loss=loss, lr=LEARNING_RATE, slope=slope, intercept=intercept)
        final, _, _ = loss_and_gradient(slope, intercept)
        telemetry.eval(steps, split="train", metrics={"loss": final, "n": len(POINTS)})
    print(f"slope {slope:.3f}, intercept {intercept:.3f}, recorded in {path}")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "plain.jsonl")
