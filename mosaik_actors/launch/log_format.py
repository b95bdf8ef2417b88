"""Log records as JSON, one object on each line."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime

from .settings import LoggingSettings

TEXT_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


class JsonFormatter(logging.Formatter):
    """Writes time, level, logger, message and traceback of a record."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        shown = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            shown["traceback"] = self.formatException(record.exc_info)
        return json.dumps(shown, ensure_ascii=False)


def configure(settings: LoggingSettings) -> None:
    """Log to stderr as the settings say, in place of what was configured before."""
    handler = logging.StreamHandler(sys.stderr)
    is_json = settings.format == "json"
    handler.setFormatter(JsonFormatter() if is_json else logging.Formatter(TEXT_FORMAT))
    logging.basicConfig(level=settings.level.upper(), handlers=[handler], force=True)
