"""The examples that are systems: cores and scenarios. Modules are imported as they do it."""

import sys
from pathlib import Path

_EXAMPLES = Path(__file__).parents[2] / "examples"

for _folder in (_EXAMPLES, *sorted(_EXAMPLES.iterdir())):
    if str(_folder) not in sys.path:
        sys.path.append(str(_folder))  # at the end: nothing of theirs hides anything else
