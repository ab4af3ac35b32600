"""The page: exhibits declared, everything else derived from the declaration."""

import os
import tempfile
from pathlib import Path

# Here, for libraries read these when they are imported.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
# Threads of torch that wait for one another must not keep a shared core busy while they do.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
# A folder of our own: what is too old in it is deleted.
os.environ.setdefault("GRADIO_TEMP_DIR", str(Path(tempfile.gettempdir()) / "studio-uploads"))
