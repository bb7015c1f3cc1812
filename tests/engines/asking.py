"""What an engine's parser says of a command; it runs where the engine is installed, without the rest of the project."""

import contextlib
import io


def complaint(read, words):
    """Why `read` does not take the words; None where it does."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            read(words)
    except SystemExit:
        return said.getvalue().strip()[-500:] or "it exits"
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:500]
    return None
