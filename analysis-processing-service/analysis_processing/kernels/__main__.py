"""Compile every kernel now, so that neither a build nor a first job waits for it later."""

from analysis_processing.kernels import baseline, residuals

if __name__ == "__main__":
    for module in (residuals, baseline):
        print(f"compiled {module.__name__}")  # noqa: T201  the command's whole output
